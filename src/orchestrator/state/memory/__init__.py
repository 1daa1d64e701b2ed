"""The store in memory: for tests, for trying things out, and as the model that other stores are held against.

It keeps sealed bytes, not objects: what is read back is a fresh decode, as from any other store. Nothing outlives
the process, and so ``durable`` changes nothing. An owner counts as alive until its lease's deadline.
"""

from orchestrator.state.memory.store import MemoryStore

__all__ = ["MemoryStore"]
