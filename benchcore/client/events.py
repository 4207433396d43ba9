"""Events: which events of a stream carry generated output; the hot path of a token."""

from __future__ import annotations

from typing import Any

import orjson

from benchcore.client.openai import error_text, generated, is_all_thinking
from benchcore.client.records import Outcome
from benchcore.client.stream import DONE, StreamReader
from benchcore.config.target import Endpoint

_loads = orjson.loads
_DecodeError = orjson.JSONDecodeError


class ChatReader(StreamReader):
    """Reads `chat.completion.chunk` events."""

    content_key = "content"

    __slots__ = ()

    def event(self, data: bytes, kind: bytes) -> None:
        """Take one event of the stream."""
        if data == DONE:  # the one event of every stream that is no JSON
            self.said_all()
            return
        try:
            message = _loads(data)
        except _DecodeError as error:
            self._undecodable(data, kind, error)
            return
        try:
            choices = message["choices"]
            for choice in choices:
                lane = choice.get("index", 0)
                delta = choice.get("delta")
                if delta:
                    content = delta.get("content")
                    if content:
                        if not self._output_seen:
                            if is_all_thinking(content):
                                self.reasoning_events += 1
                            else:
                                self._output()
                        if self._keep_text:
                            self._keep(lane, generated(delta))
                        if lane == self._lane:
                            self.pending += 1
                        else:
                            self._other_lane(lane)
                    else:
                        self._other_output(lane, delta)
                if choice.get("finish_reason"):
                    self._finish(lane, choice["finish_reason"])
                    self._note_in_band(message)
            if message.get("usage") or kind == b"error" or "error" in message:
                self._beside(message, kind)
        except (KeyError, TypeError, AttributeError):
            self._unshaped(message, kind)

    def _holder(self, choice: Any) -> Any:
        return choice["delta"]

    def _other_output(self, lane: Any, delta: dict[str, Any]) -> None:
        """Count a delta without content that carries something else that was generated."""
        if delta.get("reasoning_content") or delta.get("reasoning"):
            self.reasoning_events += 1
        elif delta.get("tool_calls") or delta.get("refusal") or delta.get("function_call"):
            if not self._output_seen:
                self._output()
        else:
            return
        if self._keep_text:
            self._keep(lane, generated(delta))
        if lane == self._lane:
            self.pending += 1
        else:
            self._other_lane(lane)


class CompletionsReader(StreamReader):
    """Reads `text_completion` events."""

    content_key = "text"

    __slots__ = ()

    def event(self, data: bytes, kind: bytes) -> None:
        """Take one event of the stream."""
        if data == DONE:
            self.said_all()
            return
        try:
            message = _loads(data)
        except _DecodeError as error:
            self._undecodable(data, kind, error)
            return
        try:
            for choice in message["choices"]:
                text = choice.get("text")
                lane = choice.get("index", 0)
                if text:
                    if not self._output_seen:
                        self._output()
                    if lane == self._lane:
                        self.pending += 1
                    else:
                        self._other_lane(lane)
                    if self._keep_text:
                        self._keep(lane, (("content", text),))
                if choice.get("finish_reason"):
                    self._finish(lane, choice["finish_reason"])
                    self._note_in_band(message)
            if message.get("usage") or kind == b"error" or "error" in message:
                self._beside(message, kind)
        except (KeyError, TypeError, AttributeError):
            self._unshaped(message, kind)

    def _holder(self, choice: Any) -> Any:
        return choice


class ResponsesReader(StreamReader):
    """Reads the `response.*` events of the responses endpoint; all its output is one choice."""

    __slots__ = ()

    def event(self, data: bytes, kind: bytes) -> None:
        """Take one event of the stream."""
        try:
            message = _loads(data)
        except _DecodeError as error:
            self._undecodable(data, kind, error)
            return
        name = message.get("type") if isinstance(message, dict) else None
        if not isinstance(name, str):
            self._unshaped(message, kind)
        elif name.endswith(".delta"):
            delta = message.get("delta")
            if not delta:
                return
            if "reasoning" in name:
                self.reasoning_events += 1
            elif not self._output_seen:
                self._output()
            self._lane = 0
            self.pending += 1
            if self._keep_text:
                said = name == "response.output_text.delta"
                item = 0 if said else message.get("output_index")
                self._keep(item, (("content" if said else name, delta),))
        elif name in ("response.completed", "response.incomplete"):
            self.done = True
            response = message.get("response")
            if not isinstance(response, dict):
                response = {}
            self._said_usage(response.get("usage"))
            self._note_in_band(response)
            self._finish(0, response.get("status") or name.removeprefix("response."))
        elif name in ("error", "response.failed") or kind == b"error":
            self.fail(Outcome.STREAM_ERROR, error_text(message.get("response") or message))


READERS: dict[Endpoint, type[StreamReader]] = {
    "chat": ChatReader,
    "completions": CompletionsReader,
    "responses": ResponsesReader,
}
