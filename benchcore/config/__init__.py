"""What a user may write: pydantic models of targets, loads, workloads and limits."""
