"""What an Orchestrator knows of changes: how executions and their positions differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from orchestrator.core.comparing import compare

if TYPE_CHECKING:
    from orchestrator.core.adapters import Adapters
    from orchestrator.domain.diff import Diff


class RevisionMethods(ABC):
    """Comparing what was recorded; a base of ``Orchestrator``."""

    @property
    @abstractmethod
    def _adapters(self) -> Adapters: ...

    async def diff(self, a: str, b: str, *, values: bool = True) -> Diff:
        """Return what differs from ``a`` to ``b``, each an execution or a checkpoint, ``EXECUTION@SEQ``.

        An execution means its present state. Results are compared by their digests; with ``values`` the first of those
        that differ are loaded, if they are not too large, to tell where. Changes nothing. Raises NoCheckpoint for what
        is not there and for an execution without a pipeline, CheckpointUnreadable for what is damaged, UsageError.
        """
        return await compare(self._adapters, a, b, values=values)
