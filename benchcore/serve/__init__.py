"""Serve: runs started, followed and fetched over HTTP."""
