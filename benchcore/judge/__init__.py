"""Whether runs differ: comparison, gate, history."""
