"""The adapters an engine works with, wired together once by ``Orchestrator``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.core.keeper import LeaseKeeper
    from orchestrator.core.recorder import Listener
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.executor import Executor
    from orchestrator.ports.renderer import Renderer
    from orchestrator.ports.store import Store
    from orchestrator.settings import Retention


@dataclass(frozen=True, slots=True)
class Adapters:
    """What fills the ports. ``project`` is the folder that relative paths in steps mean.

    ``capacity`` is how many attempts run at once; ``grace_seconds`` how long a graceful stop waits for them.
    """

    store: Store
    executor: Executor
    renderer: Renderer
    codec: Codec
    clock: Clock
    chance: Chance
    keeper: LeaseKeeper
    project: Path
    capacity: int = 32
    grace_seconds: float = 30.0
    listeners: Sequence[Listener] = ()
    retention: Sequence[Retention] = ()
