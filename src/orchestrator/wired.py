"""What the parts of ``Orchestrator`` share: its wiring, as each of them sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.plan import NO_SOURCE, Source

if TYPE_CHECKING:
    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.settings import Settings


class Wired(ABC):
    """The base of ``FleetMethods`` and ``RevisionMethods``; ``Orchestrator`` wires it."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings that hold."""

    @property
    @abstractmethod
    def _adapters(self) -> Adapters: ...

    @property
    @abstractmethod
    def _live(self) -> LiveExecutions: ...

    @abstractmethod
    def new_execution_id(self) -> str:
        """Return a fresh execution id."""

    def _source_of(self, place: str | Path | None) -> Source:
        """Return a definition's place as it is recorded, its file relative to the project where it is inside."""
        from orchestrator.compiler.places import source_at

        return source_at(place, self.settings.project) if place is not None and str(place) else NO_SOURCE
