"""The store in memory."""

from __future__ import annotations

from orchestrator.state.memory.cache import MemoryCache
from orchestrator.state.memory.mail import MemoryMail
from orchestrator.state.memory.maintenance import MemoryMaintenance
from orchestrator.state.memory.queues import MemoryQueues
from orchestrator.state.memory.reading import MemoryReading


class MemoryStore(MemoryMaintenance, MemoryQueues, MemoryMail, MemoryReading, MemoryCache):
    """A store that lives as long as the process; ``reopened`` makes a second handle onto the same data.

    ``lease_seconds`` is how long an owner that went silent keeps an execution. A handle that is closed gives up what
    it owns at once; one that is only dropped, at its deadlines.
    """
