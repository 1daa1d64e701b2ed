"""From settings to a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.state.url import StoreOptions, open_store

if TYPE_CHECKING:
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Store
    from orchestrator.settings import Settings


def open_configured(url: str, settings: Settings, clock: Clock, chance: Chance) -> Store:
    """Open the store that ``url`` names, with all else as the settings say. Raises what ``open_store`` raises."""
    options = StoreOptions(
        project=settings.project,
        clock=clock,
        chance=chance,
        durable=settings.durability == "full",
        lease_seconds=settings.lease,
    )
    return open_store(url, options)
