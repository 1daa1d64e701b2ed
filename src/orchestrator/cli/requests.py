"""What a person may ask of a plan: the options that `plan`, `resume`, `fork` and `explain` share."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.completing import complete_place, complete_steps
from orchestrator.cli.run import read_text
from orchestrator.domain.ids import is_checkpoint_id
from orchestrator.domain.pipeline import OnChange
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.orchestrator import Orchestrator
    from orchestrator.revisions import PlanOptions

ALIASES = {
    "max_retries": "max_retry_attempts",
    "checkpoint_interval": "checkpoint_interval_seconds",
    "retry_failed": "retry_failed_tasks",
}
_DIGEST = re.compile("[0-9a-f]{6,16}")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, as it was typed: the options of the same names."""

    pipeline: str | None = None
    place: str | None = None
    rerun: tuple[str, ...] = ()
    downstream: bool = False
    retry: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    set_result: tuple[str, ...] = ()
    until: str | None = None
    on_change: str | None = None
    reason: str | None = None

    @property
    def position(self) -> str | None:
        """The position that --from names; None if it names a step, or nothing."""
        place = self.place
        if place is None or not (is_checkpoint_id(place) or (place.isascii() and place.isdigit())):
            return None
        return place

    def options(self) -> PlanOptions:
        """Return it as an Orchestrator takes it; raise UsageError for a result that cannot be read."""
        steps = () if self.place is None or self.position is not None else (self.place,)
        return {
            "pipeline": self.pipeline,
            "from_checkpoint": self.position,
            "rerun": (*self.rerun, *steps),
            "downstream": self.downstream,
            "retry": self.retry,
            "skip": self.skip,
            "set_results": _results(self.set_result),
            "until": self.until,
            "on_change": self.on_change,
            "reason": self.reason or "",
        }

    def words(self) -> list[str]:
        """Return the options that say this once more."""
        found: list[str] = []
        for name, given in (
            ("--pipeline", self.pipeline),
            ("--from", self.place),
            ("--rerun", self.rerun),
            ("--downstream", self.downstream),
            ("--retry", self.retry),
            ("--skip", self.skip),
            ("--set-result", self.set_result),
            ("--until", self.until),
            ("--on-change", self.on_change),
            ("--reason", self.reason),
        ):
            if isinstance(given, bool):
                found += [name] * given
            elif given is not None:
                for each in (given,) if isinstance(given, str) else given:
                    found += [name, each]
        return found

    def check_for_many(self) -> None:
        """Raise UsageError for what can only be asked of a single execution."""
        if self.position is not None or self.set_result:
            raise UsageError("--from with a checkpoint and --set-result are about one execution, not about --all")


PLAIN = Request()
"""Nothing was asked for."""


def request_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of Request to a command; it gets them by their names."""
    steps: dict[str, Any] = {"metavar": "STEP", "shell_complete": complete_steps}
    for option in (
        click.option("--reason", metavar="TEXT", help="Why; recorded with the plan, beside who and when."),
        click.option(
            "--on-change", type=click.Choice([each.value for each in OnChange]),
            help="What becomes of finished steps that have changed.",
        ),
        click.option("--until", **steps, help="Run this step and what it needs, and stop."),
        click.option(
            "--set-result", multiple=True, metavar="STEP=JSON", shell_complete=complete_steps,
            help="Give a step a result: JSON, or @FILE with JSON in it.",
        ),
        click.option("--skip", multiple=True, **steps, help="Go on without a step."),
        click.option("--retry", multiple=True, **steps, help="Release a failed or parked step."),
        click.option("--downstream", is_flag=True, help="With --rerun or --from STEP: all that depends on it as well."),
        click.option("--rerun", multiple=True, **steps, help="Run a step again, though it is done."),
        click.option(
            "--from", "place", metavar="STEP|CHECKPOINT", shell_complete=complete_place,
            help="Run a step again; or go back to a checkpoint first: what came after it runs again.",
        ),
        pipeline_option,
    ):  # fmt: skip
        function = option(function)
    return function


pipeline_option = click.option(
    "--pipeline",
    type=click.Path(),
    metavar="FILE|MODULE:NAME",
    help="Go on with this definition, not with the recorded one.",
)
strategy_option = click.option(
    "--strategy", multiple=True, metavar="NAME=VALUE", help="A field of the resume strategy, like max_retries=5."
)


def _digest(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if _DIGEST.fullmatch(value.lower()) is None:
        raise UsageError(f"--expect {value}: expected a plan's digest, 6 to 16 of the digits that `plan` prints")
    return value.lower()


expect_option = click.option(
    "--expect", metavar="DIGEST", callback=_digest, help="Only if the plan is still the one that was shown."
)


# -- results given by hand ---------------------------------------------------------------------------------------


def _results(given: Sequence[str]) -> dict[str, Any]:
    """Read ``STEP=JSON`` and ``STEP=@FILE``; what they mean to the step is not looked at here."""
    found: dict[str, Any] = {}
    for item in given:
        step, equals, text = item.partition("=")
        if not equals or not step or not text:
            raise UsageError(f"--set-result {item}: expected STEP=JSON or STEP=@FILE")
        if step in found:
            raise UsageError(f"--set-result: step {step!r} is given two results")
        what, hint = f"--set-result {step}=", ""
        if text.startswith("@"):
            what = f"{what}@"
            path = text[1:]
            text = read_text(Path(path), what)
            what = f"{what}{path}"
        else:
            hint = "; a text needs its quotes, a file its @"
        try:
            found[step] = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{what}: not JSON: {error}{hint}") from error
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


# -- the resume strategy -----------------------------------------------------------------------------------------


async def strategy_of(reader: Orchestrator, execution: str, given: Sequence[str]) -> ResumeStrategy | None:
    """Return the pipeline's own strategy with the fields that were given; None if none were."""
    if not given:
        return None
    changes = parse_strategy(given)
    state = await reader.get_state(execution)
    if state.pipeline is None:
        return None  # the resume itself says why it cannot be
    return replace(state.pipeline.resume, **changes)


def parse_strategy(given: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` fields of a ResumeStrategy, by their own names or those of the YAML."""
    from dataclasses import fields

    from orchestrator.domain.strategy import ResumeStrategy

    kinds: dict[str, Any] = {field.name: type(field.default) for field in fields(ResumeStrategy)}
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    changes: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        name = ALIASES.get(name, name)
        if not equals or name not in kinds:
            import difflib

            near = difflib.get_close_matches(name, [*kinds, *ALIASES], n=1)
            hint = f"did you mean {near[0]}=...?" if near else f"the fields are {', '.join(kinds)}"
            raise UsageError(f"--strategy {item}: expected NAME=VALUE ({hint})")
        try:
            changes[name] = words[text.strip().lower()] if kinds[name] is bool else kinds[name](text)
        except (KeyError, ValueError):
            form = {bool: "true or false", int: "a whole number", float: "a number"}[kinds[name]]
            raise UsageError(f"--strategy {item}: expected {form}") from None
    return changes
