"""Probe: what the target is and takes, asked before any load."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchcore.base.errors import TargetError
from benchcore.client.addresses import proxy_remark
from benchcore.client.client import Client
from benchcore.client.exchange import Request
from benchcore.client.records import Outcome, Phase, Record
from benchcore.client.refusals import negotiated
from benchcore.client.request import Prompt
from benchcore.climbs.findings import overload_advice
from benchcore.config.target import PATHS, Target
from benchcore.workload.kinds import SessionKind, Workload
from benchcore.workload.synthetic import Synthetic
from benchcore.workload.token_costs import LocalTokenizer, TokenCounter

PROBE_TOKENS = 8
PROBE_TRIES = 3
"""A server that fails now and then is what a climb is to measure: one failure ends none."""
PROBE_PAUSE_SECONDS = 0.2
LISTING_SECONDS = 10.0
"""How long the list of models is waited for."""
MODELS = "/v1/models"
_FINAL = (400, 401, 403, 404, 405, 413, 422)
_NOT_THERE = (404, 405)
_MOST_CHANGES = 8


@dataclass(slots=True)
class ProbeResult:
    """What the probes found; goes into `run.json`."""

    model: str
    models_listed: bool
    tokenize: str | None = None
    usage: bool = False
    ignore_eos: bool | None = None
    e2e_seconds: float | None = None
    ttft_seconds: float | None = None
    output_tokens: int | None = None
    """Of the answer whose times those are."""
    max_model_len: int | None = None
    """The longest context in tokens, where the list of models says it."""
    notes: list[str] = field(default_factory=list)


class RefusedError(TargetError):
    """The server is there and does not take the key: waiting does not help."""


async def find_model(client: Client) -> ProbeResult:
    """Find the model to ask for; where the API lies elsewhere, the client's target follows.

    The list of models is a convenience. Where the user names a model, whatever is wrong with the
    list is a note, and the first real request decides.

    Raises:
        RefusedError: no model is named, and the list needs a key.
        TargetError: nothing listens there, or there is no model to ask for.
    """
    record = await _list_models(client)
    listed = _entries(record)
    other = client.target.other_root()
    if listed is None and other is not None and record.status in (200, *_NOT_THERE):
        before, client.target = client.target, other
        elsewhere = await _list_models(client)
        if (entries := _entries(elsewhere)) is None:
            client.target = before
        else:
            listed = entries
    target = client.target
    names = [name for entry in listed or () if isinstance(name := entry.get("id"), str)]
    if target.model is None:
        model = _first_of(names, target, record)
        found = ProbeResult(model, models_listed=True)
        if len(names) > 1:
            found.notes.append(f"the target serves {len(names)} models; {names[0]} is asked for")
    else:
        found = ProbeResult(target.model, models_listed=bool(names))
        if not names:
            found.notes.append(
                f"{MODELS} listed nothing ({_what_came(record)}): {target.model!r} is asked for "
                "anyway"
            )
        elif target.model not in names:
            near = difflib.get_close_matches(target.model, names, 1, 0.3)
            others = f"the nearest is {near[0]}" if near else f"it has {', '.join(names[:5])}"
            found.notes.append(
                f"{MODELS} does not list {target.model!r} ({others}): it is asked for anyway"
            )
    if target is other:
        found.notes.append(f"the API is at {target.url(MODELS).removesuffix('/models')}")
    for entry in listed or ():
        length = entry.get("max_model_len")
        if type(length) is int and entry.get("id") in (found.model, *names[:1]):
            found.max_model_len = length
            break
    return found


async def _list_models(client: Client) -> Record:
    """Ask for the list of models, for a while.

    Raises:
        TargetError: there is nobody to ask.
    """
    exchange = asyncio.ensure_future(client.ask("GET", MODELS))
    done, _ = await asyncio.wait({exchange}, timeout=LISTING_SECONDS)
    if not done:
        exchange.cancel()
        await asyncio.gather(exchange, return_exceptions=True)
        return Record(
            request_id="",
            outcome=Outcome.TIMEOUT,
            phase=Phase.TOTAL,
            error=f"no answer within {LISTING_SECONDS:g} s",
        )
    record = exchange.result()
    if not record.sent_ns or (not record.first_byte_ns and client.target.model is None):
        raise TargetError(
            f"{client.target.base_url} does not answer ({record.error}); is the server up, and is "
            f"--base-url right?{proxy_remark()}"
        )
    return record


def _entries(record: Record) -> list[dict[str, Any]] | None:
    """Return the entries of a list of models; `None`: it is none."""
    data = record.answer.get("data") if isinstance(record.answer, dict) else None
    if record.outcome is not Outcome.OK or not isinstance(data, list):
        return None
    return [entry for entry in data if isinstance(entry, dict)]


def _what_came(record: Record) -> str:
    if record.outcome is not Outcome.OK:
        return record.cause
    return "it lists none" if record.answer is not None else "the answer is not JSON"


def _first_of(names: list[str], target: Target, record: Record) -> str:
    """Return the model to ask for where none is named.

    Raises:
        TargetError: none is listed.
    """
    if names:
        return names[0]
    if record.status in (401, 403):
        raise _refused_key(target, record)
    raise TargetError(
        f"{target.url(MODELS)} does not name a model ({_what_came(record)}); is it an "
        "OpenAI-compatible server? If so, give --model"
    )


def _refused_key(target: Target, record: Record) -> RefusedError:
    return RefusedError(
        f"{target.base_url} refuses the key ({record.cause}); --api-key-env, or a "
        "scenario's api_key_env, names the variable that holds it"
    )


async def try_prompt(
    client: Client, prompt: Prompt, found: ProbeResult | None = None, *, patient: bool = False
) -> Record:
    """Send one real request, alone; again where it failed for no lasting reason.

    Where the server refuses a field of ours by name, or has its API elsewhere, the client's target
    follows it, once for each.

    Args:
        client: sends.
        prompt: what to ask.
        found: is told what was changed.
        patient: a failure that may pass is returned at once, for the caller to wait and ask again.

    Raises:
        RefusedError: the key is missing or not taken.
        TargetError: it does not end well; the message says how.
    """
    tries = 0
    changes = 0
    while True:
        request = client.prepare(prompt)
        record = await client.send(request)
        if record.outcome in (Outcome.OK, Outcome.EMPTY):
            return record
        if changes < _MOST_CHANGES and await _follow(client, prompt, request, record, found):
            changes += 1
            continue
        if patient and record.status not in _FINAL:
            return record
        tries += 1
        if tries >= PROBE_TRIES or record.status in _FINAL:
            raise _first_request_failed(client.target, record)
        await asyncio.sleep(PROBE_PAUSE_SECONDS)


async def _follow(
    client: Client, prompt: Prompt, request: Request, record: Record, found: ProbeResult | None
) -> bool:
    """Change the client's target as a refusal asks for; returns whether it did."""
    notes = [] if found is None else found.notes
    body = orjson.loads(request.payload.partition(b"\r\n\r\n")[2])
    change = negotiated(client.target, body, record)
    if change is not None:
        client.target, line = change
        notes.append(line)
        return True
    other = client.target.other_root()
    if record.status in _NOT_THERE and other is not None and not (found and found.models_listed):
        before, client.target = client.target, other
        elsewhere = await client.send(client.prepare(prompt))
        if elsewhere.sent_ns and elsewhere.status not in _NOT_THERE:
            notes.append(f"the API is at {other.url(MODELS).removesuffix('/models')}")
            return True
        client.target = before
    return False


def _first_request_failed(target: Target, record: Record) -> TargetError:
    if record.status in (401, 403):
        return _refused_key(target, record)
    advice = {
        404: "is that the address, and does it have the model? --base-url with --path says what "
        "is asked exactly",
        400: "does it take what --extra-body and the workload ask for? --omit FIELD and "
        "--rename OLD=NEW change what is sent",
    }.get(record.status)
    advice = advice or overload_advice(record.error, record.status) or "see the server's log"
    return TargetError(
        f"{target.base_url}: a first {target.endpoint} request (POST "
        f"{target.url(PATHS[target.endpoint])}) ended as {record.cause}; {advice}"
    )


_USUAL_RATE = 0.25
"""Tokens of a character of English, where the server has counted nothing."""


class ServerCounter:
    """Counts through the server's own `/tokenize`, in vLLM's, SGLang's or llama.cpp's form."""

    source = "server"

    def __init__(self, client: Client, model: str) -> None:
        self.exact = True
        self._tokens = self._characters = 0
        self._client = client
        self._model = model
        self.overhead = 0

    async def count(self, text: str) -> int:
        """Return the number of tokens of `text`, by an estimate where the server refuses it.

        A proxy may refuse a long text with 413, and a helper's refusal ends no run: the estimate is
        the rate of tokens per character of what was counted before, and `exact` then says no.
        """
        found = await self.try_count(text)
        if found is None:
            self.exact = False
            rate = self._tokens / self._characters if self._characters else _USUAL_RATE
            return max(round(len(text) * rate), 1)
        self._tokens += found
        self._characters += len(text)
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
    client: Client, found: ProbeResult, tokenizer: str | None, probe_text: str, billed: int | None
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


async def settle(client: Client, found: ProbeResult, tokenizer: str | None) -> TokenCounter | None:
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
    prompt = Prompt(text=probe_text, output_tokens=PROBE_TOKENS)
    record = await try_prompt(client, prompt, found)
    usage = record.usage
    found.usage = usage is not None and usage.completion_tokens is not None
    if client.target.stream and not found.usage:
        how = "as events" if tokenizer is None else "by the tokenizer"
        found.notes.append(f"the server reports no usage: tokens are counted {how}")
    billed = usage.prompt_tokens if usage is not None else None
    return await find_counter(client, found, tokenizer, probe_text, billed)


async def fit(
    client: Client, found: ProbeResult, workload: Workload, counter: TokenCounter | None
) -> Workload:
    """Fit a workload to the target and try its first prompt; returns it as the target takes it.

    Raises:
        TargetError: the target does not take its requests.
    """
    await workload.prepare(counter)
    if isinstance(workload, (Synthetic, SessionKind)) and workload.ignore_eos:
        found.ignore_eos = await _takes(client, workload.prompt(0, "probe"))
        if not found.ignore_eos:
            found.notes.append("the server does not take ignore_eos: answers may end early")
            workload = workload.with_ignore_eos(False)
    record = await try_prompt(client, workload.prompt(1, "probe"), found)
    end_ns = record.last_token_ns or record.done_ns
    found.e2e_seconds = (end_ns - record.sent_ns) * 1e-9
    found.output_tokens = record.output_tokens
    first_ns = record.first_token_ns or end_ns  # a plain answer comes as one
    found.ttft_seconds = (first_ns - record.sent_ns) * 1e-9
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
