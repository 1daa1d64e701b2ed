"""Checks of a schedule: its times, its time zone, and whether the pipeline can be run with nothing but defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.compiler.diagnostics import Collector
from orchestrator.domain.cron import CronFault, parse_cron
from orchestrator.domain.pipeline import Input
from orchestrator.domain.schedule import STAMP_LENGTH, Catchup, Overlap, Schedule, known_zones, zone_of
from orchestrator.domain.words import Path, kind_of

AT: Path = ("schedule",)
_LONGEST_ID = 128 - STAMP_LENGTH


def check_schedule(mistakes: Collector, schedule: Any, pipeline_id: Any, inputs: Mapping[str, Input]) -> Schedule:
    """Return the schedule with its words in their proper form; note what is wrong with it."""
    if not isinstance(schedule, Schedule):
        mistakes.add(AT, f"expected a Schedule, got {kind_of(schedule)}")
        return Schedule("@daily")
    if isinstance(pipeline_id, str) and len(pipeline_id) > _LONGEST_ID:
        mistakes.add(("id",), f"with a schedule, an id has at most {_LONGEST_ID} characters", "the time is added to it")
    _check_cron(mistakes, schedule.cron)
    _check_zone(mistakes, schedule.timezone)
    _check_inputs(mistakes, schedule.input, inputs)
    found: dict[str, Any] = {}
    for name, kind in (("catchup", Catchup), ("overlap", Overlap)):
        value = getattr(schedule, name)
        try:
            found[name] = kind(value)
        except ValueError:
            mistakes.add((*AT, name), f"expected one of {', '.join(kind)}, got {kind_of(value)}")
    if found.get("catchup") is Catchup.ALL and found.get("overlap") in (Overlap.SKIP, Overlap.CANCEL):
        message = f"catchup: all makes up for each time, and overlap: {found['overlap']} would drop all but one of them"
        mistakes.add((*AT, "overlap"), message, "with catchup: all, overlap is queue or allow")
    return replace(schedule, **found)


def _check_cron(mistakes: Collector, cron: Any) -> None:
    if not isinstance(cron, str):
        mistakes.add((*AT, "cron"), f"expected text, got {kind_of(cron)}")
        return
    try:
        parse_cron(cron)
    except CronFault as fault:
        mistakes.add((*AT, "cron"), str(fault), fault.hint)


def _check_zone(mistakes: Collector, name: Any) -> None:
    if not isinstance(name, str):
        mistakes.add((*AT, "timezone"), f"expected text, got {kind_of(name)}")
        return
    try:
        zone_of(name)
    except ValueError as error:
        known = known_zones()
        hint = _meant(mistakes, name, known) or "it is an IANA name, like Europe/Berlin"
        mistakes.add((*AT, "timezone"), str(error), hint if known else "this system has none: pip install tzdata")


def _meant(mistakes: Collector, name: str, known: set[str]) -> str | None:
    """Return the zone that was probably meant: a city by its name, else one that is spelt alike."""
    area, _, city = name.casefold().rpartition("/")
    cities = [zone for zone in sorted(known) if zone.casefold().rpartition("/")[2] == city.replace(" ", "_")]
    if cities:
        return f"did you mean {' or '.join(map(repr, cities[:3]))}?"
    return mistakes.guess(name, sorted(known, key=lambda zone: (zone.casefold().rpartition("/")[0] != area, zone)))


def _check_inputs(mistakes: Collector, given: Any, inputs: Mapping[str, Input]) -> None:
    if given is not None and given not in inputs:
        hint = mistakes.guess(str(given), inputs) or "declare it: inputs: {scheduled_at: {type: string}}"
        mistakes.add((*AT, "input"), f"the pipeline declares no input {given!r}", hint)
    for name, declared in inputs.items():
        if name == given:
            if declared.type not in ("string", "any"):
                message = f"the scheduled time is text, and the input {name} is of type {declared.type}"
                mistakes.add((*AT, "input"), message, "its type is string")
        elif declared.required:
            message = f"a scheduled run is given nothing for the input {name}, which must be given"
            mistakes.add(AT, message, "give it a default, or name it in schedule.input")
