"""What the parts of ``Orchestrator`` share: its wiring, as each of them sees it."""

from __future__ import annotations

import hashlib
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
        from orchestrator.compiler.places import file_at, python_place

        if place is None or not str(place):
            return NO_SOURCE
        python, file = python_place(place), file_at(place)
        digest = "" if file is None else sha256_of(file)
        if python is not None and not python.is_file:
            return Source(str(place), digest)
        full = Path(place).absolute()
        project = self.settings.project.absolute()
        text = full.relative_to(project).as_posix() if full.is_relative_to(project) else str(full)
        return Source(text, digest)


def sha256_of(path: Path) -> str:
    """Return the digest of a file; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
