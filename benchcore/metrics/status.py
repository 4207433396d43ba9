"""Status: how far a run came."""

from typing import Literal

Status = Literal["running", "complete", "interrupted", "failed"]
