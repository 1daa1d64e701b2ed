"""The kit for tests: of your pipelines (`Bench`, `run_pipeline`, `replay`), and of stores of yours (`store_suite`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.testing.bench import Bench, Run, run_pipeline
    from orchestrator.testing.clock import ManualClock
    from orchestrator.testing.fakes import Call, in_turn
    from orchestrator.testing.replaying import replay, verbs

_HOMES = {
    "Bench": "bench",
    "Call": "fakes",
    "ManualClock": "clock",
    "Run": "bench",
    "in_turn": "fakes",
    "replay": "replaying",
    "run_pipeline": "bench",
    "verbs": "replaying",
}

__all__ = ["Bench", "Call", "ManualClock", "Run", "in_turn", "replay", "run_pipeline", "verbs"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: who tests a store needs no engine."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
