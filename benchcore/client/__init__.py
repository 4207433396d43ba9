"""The one async client: everything that is asked of a target, and timed, goes through it."""
