"""The suites, a file each; found by the entry points `benchcore.suites`."""
