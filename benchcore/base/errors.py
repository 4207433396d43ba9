"""The errors of benchcore.

.. code-block:: text

    BenchcoreError
    ├── UsageError            2    what the user wrote cannot be done
    │   ├── ConfigError       2    a file or option is wrong: says where
    │   └── CapacityError     2    this machine cannot hold the load asked for
    ├── TargetError           3    the server is not reachable, not healthy, not an OpenAI API
    ├── InvalidRunError       4    the load generator, not the server, was measured
    ├── VerdictError          5    a gate, an SLO, a check or a score failed
    ├── LockError             6    another run holds the lock
    └── ResultsError          1    the results could not be written

Each message says what happened, where, and what to do next, in one line. The number is the exit
code of the command line.
"""

from typing import ClassVar


class BenchcoreError(Exception):
    """Anything benchcore itself reports; `exit_code` is what the command line exits with."""

    exit_code: ClassVar[int] = 1


class UsageError(BenchcoreError):
    """What the user asked for cannot be done."""

    exit_code = 2


class ConfigError(UsageError):
    """A file or an option holds something wrong."""


class CapacityError(UsageError):
    """This machine cannot hold the load asked for."""


class TargetError(BenchcoreError):
    """The target is not reachable, not healthy or not an OpenAI API."""

    exit_code = 3


class InvalidRunError(BenchcoreError):
    """The run measured the load generator, not the server."""

    exit_code = 4


class VerdictError(BenchcoreError):
    """A gate, an SLO, a check or a score failed."""

    exit_code = 5


class LockError(BenchcoreError):
    """Another run holds the lock."""

    exit_code = 6


class ResultsError(BenchcoreError):
    """The results could not be written."""
