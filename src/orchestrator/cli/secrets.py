"""`orchestrator secrets`: names and places of secrets, never values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.definition import pipeline_of
from orchestrator.cli.inspect import as_json_option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.domain.secret import SecretUse
    from orchestrator.secrets.lookup import Found

MISSING_EXIT_CODE = 2


@click.command(
    "secrets",
    cls=Command,
    examples=(
        "orchestrator secrets list pipeline.yaml",
        "orchestrator secrets list exec_1a2b3c --json",
        "orchestrator secrets set TOKEN",
    ),
)
@click.argument("action", metavar="list|set", type=click.Choice(["list", "set"]))
@click.argument("name", metavar="FILE|EXECUTION|NAME")
@as_json_option
@pass_common
async def secrets_command(common: Common, action: str, name: str, *, as_json: bool) -> int:
    """Tell which secrets a pipeline needs and where each is found, or keep one.

    A secret is looked for in the variable ORCHESTRATOR_SECRET_NAME, then in what secrets_file names, then in the
    system's keyring (extra 'keyring'). Its value is never shown. Ends with 2 if one is missing.

    `set` keeps a secret in the keyring; the value is asked for, or read from standard input.
    """
    if action == "set":
        _keep(name)
        return 0
    pipeline = await pipeline_of(common, name)
    found = common.orchestrator().find_secrets(pipeline)
    if as_json:
        for secret, (uses, place) in found.items():
            output.emit(_object(secret, uses, place))
    elif found:
        _print(found)
    else:
        output.tell(f"pipeline {pipeline.id} needs no secrets")
    return 0 if all(place.value is not None for _uses, place in found.values()) else MISSING_EXIT_CODE


def _keep(name: str) -> None:
    from orchestrator.domain.redaction import LEAST
    from orchestrator.domain.secret import NAME_RULE, SECRET_NAME
    from orchestrator.secrets import keyring

    if not SECRET_NAME.fullmatch(name):
        raise UsageError(f"secrets set: {name[:140]!r} cannot name a secret: a name is {NAME_RULE}")
    if not keyring.is_installed():
        raise UsageError(f"secrets set: {keyring.MISSING_EXTRA}")
    if output.is_terminal(sys.stdin):
        value = click.prompt(f"value of {name}", hide_input=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if len(value) < LEAST:
        raise UsageError(f"secrets set: a secret has {LEAST} characters or more")
    keyring.put(name, value)
    output.tell(f"{name} is kept in the keyring, for the service {keyring.SERVICE!r}")


def _print(found: Mapping[str, tuple[Sequence[SecretUse], Found]]) -> None:
    rows = [
        [name, _state(place), ", ".join(f"{use.step}: {use.place}" for use in uses)]
        for name, (uses, place) in found.items()
    ]
    output.table(["secret", "found in", "used in"], rows)


def _state(place: Found) -> str:
    if place.value is not None:
        return place.where + ("; short: it may be found where it does not belong" if place.is_short else "")
    return f"MISSING: {place.fault or 'not in ' + ', '.join(place.tried)}"


def _object(name: str, uses: Sequence[SecretUse], place: Found) -> dict[str, object]:
    return {
        "name": name,
        "found": place.value is not None,
        "where": place.where or None,
        "looked_in": list(place.tried),
        "fault": place.fault or None,
        "short": place.is_short,
        "uses": [{"step": use.step, "place": use.place} for use in uses],
    }
