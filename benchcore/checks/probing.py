"""Probing: which engine a server is and what it has, asked once before the checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.errors import BenchcoreError
from benchcore.checks.answers import CheckFailedError, UnsettledError, UnsupportedError
from benchcore.checks.attempt import CHAT, COMPLETIONS, REFUSALS, Attempt
from benchcore.checks.subject import UNKNOWN, Capability, Dialect, Sign, dialects
from benchcore.client.refusals import blame

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer
    from benchcore.checks.subject import Subject


PRECONDITIONS: Final = frozenset({"instructions", "auth", "metrics"})
"""Without one of these a check is skipped; without another, its feature is unsupported."""

WORD: Final = "zephyr"
ECHO: Final = "Repeat exactly, and nothing else: "

TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city. 查询城市天气。",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


async def _instructions(t: Attempt) -> Capability:
    answer = await t.chat(ECHO + WORD, max_tokens=64)
    said = answer.text()
    return Capability(WORD in said.lower(), f"told to repeat {WORD}, it said {said[:60]!r}")


async def _completions(t: Attempt) -> Capability:
    return _by_status(await t.post(COMPLETIONS, t.completion_body("Hello", max_tokens=2)))


async def _tools(t: Attempt) -> Capability:
    body = t.chat_body("What is the weather in Paris?", tools=[TOOL], tool_choice="auto")
    return _by_status(await t.post("/v1/chat/completions", body))


async def _json_schema(t: Attempt) -> Capability:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    body = t.chat_body("Give me an integer.", response_format=wanted, max_tokens=16)
    return _by_status(await t.post("/v1/chat/completions", body))


async def _logprobs(t: Attempt) -> Capability:
    body = t.chat_body("Hello", logprobs=True, top_logprobs=1, max_tokens=2)
    answer = await t.post("/v1/chat/completions", body)
    if answer.status == 200:
        there = isinstance(answer.find("choices", 0, "logprobs"), dict)
        return Capability(there, "asked for, they " + ("came" if there else "did not come"))
    return _by_status(answer)


async def _several_choices(t: Attempt) -> Capability:
    answer = await t.post(
        "/v1/chat/completions", t.chat_body("Hello", n=2, temperature=1, max_tokens=2)
    )
    if answer.status == 200:
        count = len(answer.choices)
        return Capability(count == 2, f"asked for 2 choices, {count} came")
    return _by_status(answer)


async def _usage_in_stream(t: Attempt) -> Capability:
    stream = await t.stream_chat(
        "Hello", max_tokens=2, stream_options={"include_usage": True}, optional="stream_options"
    )
    there = bool(stream.usages)
    return Capability(there, "asked for, it " + ("came" if there else "did not come"))


async def _reasoning(t: Attempt) -> Capability:
    answer = await t.post(
        "/v1/chat/completions",
        t.chat_body("Is 91 a prime number?", reasoning_effort="low", max_tokens=512),
    )
    if answer.status != 200:
        return _by_status(answer)
    message = answer.message()
    keys = [key for key in t.subject.reasoning_keys if message.get(key)]
    return Capability(bool(keys), f"in {keys[0]}" if keys else "asked for, none came")


async def _tokenize(t: Attempt) -> Capability:
    body = {"model": t.subject.model, "prompt": "Hello", "content": "Hello"}
    answer = await t.post("/tokenize", body)
    if answer.status != 200:
        return _by_status(answer)
    there = isinstance(answer.find("tokens"), list)
    return Capability(there, "/tokenize " + ("gives tokens" if there else "gives no tokens"))


async def _metrics(t: Attempt) -> Capability:
    answer = await t.get("/metrics")
    there = answer.status == 200 and b"# TYPE" in answer.body
    return Capability(there, f"GET /metrics: status {answer.status}")


async def _auth(t: Attempt) -> Capability:
    # Gateways show their models to everybody and answer nobody without a key.
    nobody = {"authorization": None}
    listed = await t.get("/v1/models", nobody)
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), nobody)
    statuses = {listed.status, answer.status}
    asks = True if statuses & {401, 403} else None
    if answer.status == 200:
        asks = listed.status in (401, 403)
    return Capability(asks, f"without a key: status {answer.status}, for models {listed.status}")


def _by_status(answer: CheckAnswer) -> Capability:
    if answer.status == 200:
        return Capability(available=True, how="accepted")
    if answer.status in REFUSALS:
        return Capability(available=False, how=f"status {answer.status}: {answer.problem}")
    return Capability(available=None, how=f"status {answer.status}: {answer.problem}")


PROBES: Final[dict[str, Callable[[Attempt], Awaitable[Capability]]]] = {
    "instructions": _instructions,
    "completions": _completions,
    "tools": _tools,
    "json_schema": _json_schema,
    "logprobs": _logprobs,
    "n": _several_choices,
    "usage_in_stream": _usage_in_stream,
    "reasoning": _reasoning,
    "tokenize": _tokenize,
    "metrics": _metrics,
    "auth": _auth,
}
"""Name of a capability to what finds it out."""


async def probe(subject: Subject) -> dict[str, Capability]:
    """Find out what a server has.

    A probe that is refused says that its capability is not there; one that fails leaves it unknown.
    """
    capabilities = {}
    for name, ask in PROBES.items():
        try:
            capabilities[name] = await ask(Attempt(subject))
        except UnsupportedError as error:
            capabilities[name] = Capability(available=False, how=str(error))
        except (CheckFailedError, UnsettledError) as error:
            capabilities[name] = Capability(available=None, how=str(error))
        except BenchcoreError:
            raise
        except Exception as fault:  # noqa: BLE001  one answer that no probe has thought of
            capabilities[name] = Capability(available=None, how=blame(fault)[1])
    return capabilities


async def identify(subject: Subject) -> Dialect:
    """Return the dialect of the engine, `UNKNOWN` where no sign fits."""
    attempt = Attempt(subject)
    answers: dict[str, CheckAnswer | None] = {}

    async def get(path: str) -> CheckAnswer | None:
        if path not in answers:
            try:
                answers[path] = await attempt.get(path)
            except (CheckFailedError, UnsettledError):
                answers[path] = None
        return answers[path]

    async def fits(sign: Sign) -> bool:
        answer = await get(sign.path or "/v1/models")
        if answer is None:
            return False
        if sign.header is not None:
            name, _, part = sign.header.partition(": ")
            return part in (answer.header(name) or "")
        if answer.status != 200:
            return False
        try:
            if sign.path is not None:
                return sign.key is None or answer.find(sign.key) is not None
            return bool(answer.find("data", 0, "owned_by") == sign.owned_by)
        except CheckFailedError:
            return False

    for by_path in (False, True):  # the list of models is asked anyway; other paths only then
        for dialect in dialects().values():
            for sign in dialect.signs:
                if (sign.path is not None) is by_path and await fits(sign):
                    return dialect
    return UNKNOWN
