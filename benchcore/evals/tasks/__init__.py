"""The tasks that benchcore comes with, one a module."""
