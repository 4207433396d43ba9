"""Probe: what the target is and takes, asked before any load."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import dataclass, field

from benchcore.client.client import Client
from benchcore.client.prompt import Prompt
from benchcore.client.records import Outcome, Record
from benchcore.errors import TargetError
from benchcore.stages.perf.remarks import overload_advice
from benchcore.workload.protocol import TokenCounter, Workload
from benchcore.workload.synthetic import Synthetic
from benchcore.workload.tokenizer import LocalTokenizer

PROBE_TOKENS = 8
PROBE_TRIES = 3
"""A server that fails now and then is what a climb is to measure: one failure ends none."""
PROBE_PAUSE_SECONDS = 0.2
_FINAL = (400, 401, 403, 404, 405, 413, 422)


@dataclass(slots=True)
class Found:
    """What the probes found; goes into `run.json`."""

    model: str
    models_listed: bool
    tokenize: str | None = None
    usage: bool = False
    ignore_eos: bool | None = None
    e2e_seconds: float | None = None
    notes: list[str] = field(default_factory=list)


def _refusal(record: Record) -> str:
    return f"HTTP {record.status}: {record.error}" if record.status else record.error


class RefusedError(TargetError):
    """The server is there and does not take the key: waiting does not help."""


async def find_model(client: Client) -> Found:
    """Find the model to ask for.

    Raises:
        RefusedError: the key is missing or not taken.
        TargetError: nothing listens there, or it does not have the model.
    """
    target = client.target
    record = await client.ask("GET", "/v1/models")
    if not record.first_byte_ns:
        raise TargetError(
            f"{target.base_url} does not answer ({record.error}); is the server up, and is "
            "--base-url right?"
        )
    listed: list[str] | None = None
    if record.outcome is Outcome.OK and isinstance(record.answer, dict):
        data = record.answer.get("data")
        if isinstance(data, list):
            listed = [str(entry.get("id")) for entry in data if isinstance(entry, dict)]
    if record.status in (401, 403):
        raise RefusedError(
            f"{target.base_url} refuses the key ({_refusal(record)}); --api-key-env, or a "
            "scenario's api_key_env, names the variable that holds it"
        )
    if target.model is None:
        if not listed:
            reason = _refusal(record) if record.outcome is not Outcome.OK else "it lists none"
            raise TargetError(
                f"{target.base_url}/v1/models does not name a model ({reason}); is it an "
                "OpenAI-compatible server? If so, give --model"
            )
        found = Found(listed[0], models_listed=True)
        if len(listed) > 1:
            found.notes.append(f"the target serves {len(listed)} models; asked is {listed[0]}")
        return found
    if listed and target.model not in listed:
        near = difflib.get_close_matches(target.model, listed, 1, 0.3)
        others = f"did you mean {near[0]}?" if near else f"it has {', '.join(listed[:5])}"
        raise TargetError(f"{target.base_url} does not have model {target.model!r}; {others}")
    found = Found(target.model, models_listed=bool(listed))
    if not listed:
        found.notes.append(f"/v1/models told nothing ({_refusal(record)})")
    return found


async def try_prompt(client: Client, prompt: Prompt) -> Record:
    """Send one real request, alone; again where it failed for no lasting reason.

    Raises:
        TargetError: it does not end well; the message says how.
    """
    record = await client.send(client.prepare(prompt))
    for _ in range(PROBE_TRIES - 1):
        if record.outcome in (Outcome.OK, Outcome.EMPTY) or record.status in _FINAL:
            break
        await asyncio.sleep(PROBE_PAUSE_SECONDS)
        record = await client.send(client.prepare(prompt))
    if record.outcome in (Outcome.OK, Outcome.EMPTY):
        return record
    target = client.target
    advice = (
        {
            404: "is --endpoint right, and does it have the model?",
            401: "--api-key-env names the variable that holds the key",
            400: "does it take what --extra-body and the workload ask for?",
        }.get(record.status)
        or overload_advice(record.error)
        or "see the server's log"
    )
    raise TargetError(
        f"{target.base_url}: a first {target.endpoint} request ended as {record.outcome} "
        f"({_refusal(record)}); {advice}"
    )


class ServerCounter:
    """Counts through the server's own `/tokenize`, in vLLM's, SGLang's or llama.cpp's form."""

    source = "server"
    exact = True

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model
        self.overhead = 0

    async def count(self, text: str) -> int:
        """Return the number of tokens of `text`.

        Raises:
            TargetError: the server does not count any longer.
        """
        found = await self.try_count(text)
        if found is None:
            raise TargetError(f"{self._client.target.base_url}/tokenize has stopped answering")
        return found

    async def try_count(self, text: str) -> int | None:
        """Return the number of tokens, or `None` where the server does not offer it."""
        body = {
            "model": self._model,
            "prompt": text,
            "content": text,
            "add_special_tokens": False,
            "add_special": False,
        }
        record = await self._client.ask("POST", "/tokenize", body)
        if record.outcome is not Outcome.OK or not isinstance(record.answer, dict):
            return None
        count = record.answer.get("count")
        if isinstance(count, int):
            return count
        tokens = record.answer.get("tokens")
        return len(tokens) if isinstance(tokens, list) else None


class UsageCounter:
    """Counts by the usage that the server bills for a real request."""

    source = "usage"
    exact = False
    overhead = 0

    def __init__(self, client: Client) -> None:
        self._client = client

    async def count(self, text: str) -> int:
        """Return the prompt tokens billed for `text`, template included.

        Raises:
            TargetError: the request failed or no usage came.
        """
        record = await try_prompt(self._client, Prompt(text=text, output_tokens=1))
        if record.usage is None or record.usage.prompt_tokens is None:
            raise TargetError(f"{self._client.target.base_url} has stopped sending usage")
        return record.usage.prompt_tokens


async def find_counter(
    client: Client, found: Found, tokenizer: str | None, probe_text: str, billed: int | None
) -> TokenCounter | None:
    """Find out who counts the target's tokens best.

    Args:
        client: asks.
        found: what is known; is told who it is.
        tokenizer: a local tokenizer file, which wins.
        probe_text: the text of a probe …
        billed: … and what the server billed for it, template included; `None`: it did not say.
    """
    if tokenizer is not None:
        local = LocalTokenizer(tokenizer, special_tokens=False)
        own = await local.count(probe_text)
        found.tokenize = "tokenizer"
        if billed is None:
            return local
        return LocalTokenizer(tokenizer, special_tokens=False, overhead=max(billed - own, 0))
    server = ServerCounter(client, found.model)
    own_count = await server.try_count(probe_text)
    if own_count:
        server.overhead = max((billed or own_count) - own_count, 0)
        found.tokenize = "server"
        return server
    if billed is not None:
        found.tokenize = "usage"
        return UsageCounter(client)
    return None


async def settle(client: Client, found: Found, tokenizer: str | None) -> TokenCounter | None:
    """Try a first request and find who counts the target's tokens.

    Args:
        client: asks.
        found: is told what is found.
        tokenizer: a local tokenizer file; `None`: ask the server.

    Raises:
        TargetError: the target does not take even a small request.
        ConfigError: the tokenizer's file is bad.
    """
    probe_text = "The first request asks for little, to see whether the server answers at all."
    record = await try_prompt(client, Prompt(text=probe_text, output_tokens=PROBE_TOKENS))
    usage = record.usage
    found.usage = usage is not None and usage.completion_tokens is not None
    if client.target.stream and not found.usage:
        how = "as events" if tokenizer is None else "by the tokenizer"
        found.notes.append(f"the server reports no usage: tokens are counted {how}")
    billed = usage.prompt_tokens if usage is not None else None
    return await find_counter(client, found, tokenizer, probe_text, billed)


async def fit(
    client: Client, found: Found, workload: Workload, counter: TokenCounter | None
) -> Workload:
    """Fit a workload to the target and try its first prompt; returns it as the target takes it.

    Raises:
        TargetError: the target does not take its requests.
    """
    await workload.prepare(counter)
    if isinstance(workload, Synthetic) and workload.ignore_eos:
        found.ignore_eos = await _takes(client, workload.prompt(0, "probe"))
        if not found.ignore_eos:
            found.notes.append("the server does not take ignore_eos: answers may end early")
            workload = workload.with_ignore_eos(False)
    record = await try_prompt(client, workload.prompt(1, "probe"))
    end_ns = record.last_token_ns or record.done_ns
    found.e2e_seconds = (end_ns - record.sent_ns) * 1e-9
    return workload


async def _takes(client: Client, prompt: Prompt) -> bool:
    """Whether the server takes a prompt's extra fields, tried with little output."""
    extra = {
        name: PROBE_TOKENS if name == "min_tokens" else value
        for name, value in prompt.extra.items()
    }
    short = Prompt(text="Hello.", output_tokens=PROBE_TOKENS, extra=extra)
    record = await client.send(client.prepare(short))
    return record.outcome in (Outcome.OK, Outcome.EMPTY)
