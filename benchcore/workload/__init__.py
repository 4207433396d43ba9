"""Workloads: what to ask, with how long a prompt and how long an answer."""
