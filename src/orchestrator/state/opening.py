"""From settings to what a store is opened with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.state.url import StoreOptions

if TYPE_CHECKING:
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.settings import Settings


def options_of(settings: Settings, clock: Clock, chance: Chance) -> StoreOptions:
    """Return what the settings say of a store."""
    return StoreOptions(
        project=settings.project,
        clock=clock,
        chance=chance,
        durable=settings.durability == "full",
        lease_seconds=settings.lease,
    )
