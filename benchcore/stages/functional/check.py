"""Check: one thing that a server is held to, and the suites that hold them.

.. code-block:: text

    VerdictSignal
    ├── CheckFailedError      the server did something else than expected
    ├── UnsupportedError      the server says that it does not have the feature
    ├── UnsettledError        the server put every try of a request off with 429
    └── SkippedError          the check cannot be made here
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchcore.stages.functional.trial import Trial

Body = Callable[["Trial"], Awaitable[None]]


class VerdictSignal(Exception):  # noqa: N818  a verdict is no error of ours
    """Ends a try of a check with something else than a pass."""


class CheckFailedError(VerdictSignal):
    """The server did something else than expected.

    Args:
        expected: what it should have done.
        got: what it did.
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected = expected
        self.got = got


class UnsupportedError(VerdictSignal):
    """The server refused the feature explicitly, or has been found not to have it."""


class UnsettledError(VerdictSignal):
    """The server put a request off for load, and did so again after every wait."""


class SkippedError(VerdictSignal):
    """Something that the check needs is not there."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a server is held to.

    Args:
        case_id: `suite.name`.
        title: what it holds the server to, in a sentence.
        body: makes the check; ends or raises one of the signals above.
        needs: capabilities without which it is not made.
        model_dependent: a good server with a weak model may fail it: tried up to three times.
        tolerance: what real engines legitimately differ in; with one, a failure is tolerated
            unless `--strict`.
        extension: the field or route, not of OpenAI's API, that it is about; where the engine is
            not known to offer it, a failure means that it is not supported.
        alone: other requests would disturb it.
        harsh: may keep a weak server busy for long: made last of all, one by one.
        smoke: one of the few that are always made.
        opt_in: the setting without which it is not made.
    """

    case_id: str
    title: str
    body: Body = field(repr=False)
    needs: tuple[str, ...] = ()
    model_dependent: bool = False
    tolerance: str = ""
    extension: str = ""
    alone: bool = False
    harsh: bool = False
    smoke: bool = False
    opt_in: str = ""

    @property
    def suite(self) -> str:
        """The suite it is of."""
        return self.case_id.partition(".")[0]


class Suite:
    """Checks that belong together.

    Args:
        name: in ids and for `--suite`.
        title: what they are about.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self.checks: dict[str, Check] = {}

    def add(self, name: str, title: str, body: Body, **options: Any) -> None:
        """Add a check.

        Args:
            name: the part of its id after the suite's name.
            title: what it holds the server to.
            body: makes it.
            **options: the other fields of `Check`.
        """
        case_id = f"{self.name}.{name}"
        if case_id in self.checks:
            raise ValueError(f"{case_id} is there twice")
        self.checks[case_id] = Check(case_id, title, body, **options)

    def check(self, title: str, **options: Any) -> Callable[[Body], Body]:
        """Return a decorator that adds a function as the check of its name."""

        def decorate(body: Body) -> Body:
            self.add(getattr(body, "__name__"), title, body, **options)  # noqa: B009  a Callable has none for mypy
            return body

        return decorate
