"""Recording: a reverse proxy that changes nothing, and the trace of what went through it."""
