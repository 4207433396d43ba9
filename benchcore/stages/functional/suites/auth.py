"""Auth: keys, and requests without a good one."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("auth", "keys, and requests without a good one")
