"""The adapters an engine works with, wired together once by ``Orchestrator``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.ports.secrets import NO_SECRETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.core.keeper import LeaseKeeper
    from orchestrator.core.recorder import Listener
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.executor import Executor
    from orchestrator.ports.files import Files
    from orchestrator.ports.renderer import Renderer
    from orchestrator.ports.schemas import Schemas
    from orchestrator.ports.secrets import Secrets
    from orchestrator.ports.store import Store
    from orchestrator.ports.tools import Tools
    from orchestrator.settings import Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What is needed to record facts, to read them and to remove them.

    ``listeners`` hear of each fact once it is durable; ``retention`` is what the settings say of removal.
    """

    store: Store
    codec: Codec
    clock: Clock
    listeners: Sequence[Listener] = ()
    retention: Sequence[Retention] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters(Records):
    """What fills the ports. ``project`` is the folder that relative paths in steps mean.

    ``capacity`` is how many attempts run at once; ``grace_seconds`` how long a graceful stop waits for them.
    ``secrets`` are looked up before anything runs; their values go past the core, from where they lie to the executor.
    """

    executor: Executor
    renderer: Renderer
    tools: Tools
    files: Files
    schemas: Schemas
    chance: Chance
    keeper: LeaseKeeper
    project: Path
    secrets: Secrets = NO_SECRETS
    capacity: int = 32
    grace_seconds: float = 30.0
