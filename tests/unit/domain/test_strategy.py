from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import UsageError


def test_defaults() -> None:
    assert ResumeStrategy().to_dict() == {
        "retry_failed_tasks": True,
        "reset_running_tasks": True,
        "preserve_completed_tasks": True,
        "max_retry_attempts": 3,
        "checkpoint_interval_seconds": 60.0,
        "validate_checkpoint_integrity": True,
    }


def test_a_strategy_reads_back_from_its_fields() -> None:
    strategy = ResumeStrategy(max_retry_attempts=7, retry_failed_tasks=False)
    assert ResumeStrategy(**strategy.to_dict()) == strategy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry_failed_tasks", 1),
        ("reset_running_tasks", "yes"),
        ("preserve_completed_tasks", None),
        ("validate_checkpoint_integrity", 0),
        ("max_retry_attempts", -1),
        ("max_retry_attempts", 1.5),
        ("max_retry_attempts", True),
        ("checkpoint_interval_seconds", 0),
        ("checkpoint_interval_seconds", -1.0),
        ("checkpoint_interval_seconds", float("inf")),
        ("checkpoint_interval_seconds", float("nan")),
        ("checkpoint_interval_seconds", "30"),
        ("checkpoint_interval_seconds", True),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name}: expected"):
        ResumeStrategy(**{name: value})
