"""From the settings to what every store is opened with: how its records are sealed, where its large values lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.settings import KEYS_VARIABLE
from orchestrator.state.encryption import Encryption, configured_keys
from orchestrator.state.records import PLAIN, Sealing
from orchestrator.state.url import StoreOptions

if TYPE_CHECKING:
    from orchestrator.ports.blobs import Blobs
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.settings import Settings


def sealing_of(settings: Settings) -> Sealing:
    """Return how records are sealed: encrypted where keys are configured; UsageError where they are only demanded."""
    keys = configured_keys(settings.encryption_command, project=settings.project)
    if keys:
        return Encryption(keys)
    if settings.require_encryption:
        raise UsageError(
            f"require_encryption is set, and there are no keys: set {KEYS_VARIABLE} or encryption_command "
            "(`orchestrator key` makes a key)"
        )
    return PLAIN


def blobs_of(settings: Settings) -> Blobs | None:
    """Return where large values lie; None where each store keeps them its own way."""
    if not settings.blobs:
        return None
    from orchestrator.state.blobs_s3 import S3Blobs

    return S3Blobs(settings.blobs)


def options_of(settings: Settings, clock: Clock, chance: Chance, *, encrypted: bool = True) -> StoreOptions:
    """Return the options that the settings mean; ``encrypted`` False reads and writes plain records whatever is set.

    Runs ``encryption_command`` where there is one. Raises UsageError for keys or a place of blobs that are none.
    """
    return StoreOptions(
        project=settings.project,
        clock=clock,
        chance=chance,
        durable=settings.durability == "full",
        lease_seconds=settings.lease,
        sealing=sealing_of(settings) if encrypted else PLAIN,
        blobs=blobs_of(settings),
    )
