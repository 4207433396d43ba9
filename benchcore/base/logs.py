"""Logs: the logger that everything is told to, and the level of results.

Apart, so that a command has them before it imports anything that measures or shows.
"""

import logging

RESULT = (logging.INFO + logging.WARNING) // 2
"""The level at which it is said where the results are: `--quiet` leaves that."""
LOGGER = logging.getLogger("benchcore")
"""Everything that is said on the way goes through it."""
