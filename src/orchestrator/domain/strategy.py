"""How a resume treats what it finds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from orchestrator.errors import UsageError


@dataclass(frozen=True, slots=True)
class ResumeStrategy:
    """What a resume does with failed, running and completed tasks (spec: "Resume Strategies").

    - ``retry_failed_tasks``: tasks that failed are tried again; False leaves them failed.
    - ``reset_running_tasks``: tasks that ran when the process died are run again; False marks them failed.
    - ``preserve_completed_tasks``: results are kept; False runs every task again.
    - ``max_retry_attempts``: retries a task may use over the whole execution, resumes included. A task that failed
      more often is parked with its last error.
    - ``checkpoint_interval_seconds``: how often the progress of running steps is made durable, in seconds.
    - ``validate_checkpoint_integrity``: verify every checksum, and journal against definition, before anything runs.

    >>> ResumeStrategy(max_retry_attempts=5).retry_failed_tasks
    True
    """

    retry_failed_tasks: bool = True
    reset_running_tasks: bool = True
    preserve_completed_tasks: bool = True
    max_retry_attempts: int = 3
    checkpoint_interval_seconds: float = 60.0
    validate_checkpoint_integrity: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant; raise UsageError naming the field."""
        for name in (
            "retry_failed_tasks",
            "reset_running_tasks",
            "preserve_completed_tasks",
            "validate_checkpoint_integrity",
        ):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name}: expected true or false, got {getattr(self, name)!r}")
        if isinstance(self.max_retry_attempts, bool) or not isinstance(self.max_retry_attempts, int):
            raise UsageError(f"max_retry_attempts: expected a whole number, got {self.max_retry_attempts!r}")
        if self.max_retry_attempts < 0:
            raise UsageError(f"max_retry_attempts: expected 0 or more, got {self.max_retry_attempts}")
        interval: object = self.checkpoint_interval_seconds
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 < interval < float("inf"):
            raise UsageError(f"checkpoint_interval_seconds: expected seconds above 0, got {interval!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
