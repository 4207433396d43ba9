"""Descriptors: how many files, and so connections, this process may have open."""

import errno
import resource

from benchcore.errors import CapacityError

SPARE_DESCRIPTORS = 64
"""File descriptors left for everything that is not a connection."""


def ensure_descriptors(connections: int) -> None:
    """Raise this process's limit of open files so that it can hold so many connections.

    Raises:
        CapacityError: the hard limit is lower.
    """
    needed = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CapacityError(
            f"{connections} connections need {needed} open files and this process may have {hard}; "
            f"raise the hard limit (ulimit -Hn {needed}) or lower the concurrency"
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (OSError, ValueError) as error:
        code = error.errno if isinstance(error, OSError) else errno.EINVAL
        raise CapacityError(
            f"{connections} connections need {needed} open files and the limit of {soft} cannot "
            f"be raised ({errno.errorcode.get(code or 0, error)}); run: ulimit -n {needed}"
        ) from None
