"""`orchestrator key`: a key for encryption."""

from __future__ import annotations

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common


@click.command(
    "key",
    cls=Command,
    examples=("orchestrator key > key.txt", "orchestrator key --id 2026-autumn"),
)
@click.option("--id", "key_id", metavar="ID", help="The key's name, kept in each record; the day if not given.")
@pass_common
def key_command(_common: Common, *, key_id: str | None) -> None:
    """Make a key for encryption.

    Prints ID:BASE64, as ORCHESTRATOR_ENCRYPTION_KEYS takes it; nothing is kept. To rotate, put the new key before the
    old ones. Whoever loses the keys loses what they sealed.
    """
    from orchestrator.core.system import SystemClock
    from orchestrator.state.encryption import new_key

    today = (output.iso(SystemClock().now()) or "")[:10]
    output.say(new_key(today if key_id is None else key_id))
