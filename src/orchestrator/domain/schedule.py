"""When a pipeline is to be run by itself, and which of the times that have come are served: pure decisions.

What is recorded is the scheduled time, in UTC, in the execution's id: so the store's unique ids see to it that a time
is decided once, by whichever process comes first, and the newest such id tells how far the schedule was served.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from orchestrator.domain.cron import parse_cron, times_after

MOST_AT_ONCE = 1000
"""So many missed times are made up for at most, the newest; and so many executions wait for their turn."""
GRACE_SECONDS = 60.0
"""A time that came less than this ago is on time: a server that is restarted does not lose it."""
_STAMP = "%Y-%m-%dT%H%MZ"
STAMP_LENGTH = len(".2026-01-31T0200Z")
"""What a scheduled execution's id is longer than its pipeline's."""


class Catchup(StrEnum):
    """What becomes of times that came while nobody served the schedule (`schedule.catchup`)."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Overlap(StrEnum):
    """What a time does that comes while an earlier run of the schedule has not ended (`schedule.overlap`)."""

    QUEUE = "queue"
    SKIP = "skip"
    CANCEL = "cancel"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a pipeline is to be run by `orchestrator serve`.

    ``cron`` are five fields, or a name like ``@daily``, read in ``timezone`` (an IANA name). ``input`` names the
    pipeline's input that is given the scheduled time.

    >>> Schedule("0 2 * * MON-FRI", timezone="Europe/Berlin").overlap.value
    'queue'
    """

    cron: str
    timezone: str = "UTC"
    catchup: Catchup = Catchup.NONE
    overlap: Overlap = Overlap.QUEUE
    input: str | None = None


class Due(NamedTuple):
    """What is to be done now: ``times`` are run, oldest first; ``passed`` have come too, and are not.

    ``following`` is when the next one comes (None: never). All are seconds since 1970.
    """

    times: tuple[float, ...]
    passed: int
    following: float | None


def due(schedule: Schedule, last: float, now: float) -> Due:
    """Return what is to be done at ``now``, where all up to ``last`` is decided already.

    >>> due(Schedule("0 * * * *", catchup=Catchup.LATEST), last=0.0, now=7300.0)
    Due(times=(7200.0,), passed=1, following=10800.0)
    """
    newest: deque[float] = deque(maxlen=MOST_AT_ONCE if schedule.catchup is Catchup.ALL else 1)
    count = 0
    following = None
    for at in times_after(parse_cron(schedule.cron), zone_of(schedule.timezone), last):
        if at > now:
            following = at
            break
        newest.append(at)
        count += 1
    if schedule.catchup is Catchup.NONE and newest and now - newest[0] > GRACE_SECONDS:
        newest.clear()
    return Due(tuple(newest), count - len(newest), following)


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name; raise ValueError if there is none of this name here."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone named {name[:80]!r}") from None


def known_zones() -> set[str]:
    """Return the names of the time zones that are known here."""
    from zoneinfo import available_timezones

    return available_timezones()


# -- ids and texts -----------------------------------------------------------------------------------------------


def scheduled_id(pipeline_id: str, at: float) -> str:
    """Return the id of the execution of a scheduled time.

    >>> scheduled_id("nightly", 68169600.0)
    'nightly.1972-02-29T0000Z'
    """
    return f"{pipeline_id}.{datetime.fromtimestamp(at, UTC).strftime(_STAMP)}"


def scheduled_time(pipeline_id: str, execution_id: str) -> float | None:
    """Return the scheduled time of an execution; None for one that no schedule made.

    >>> scheduled_time("nightly", "nightly.1972-02-29T0000Z"), scheduled_time("nightly", "nightly.backfill")
    (68169600.0, None)
    """
    head, dot, stamp = execution_id.rpartition(".")
    if not dot or head != pipeline_id:
        return None
    try:
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return at if scheduled_id(pipeline_id, at) == execution_id else None


def local_text(schedule: Schedule, at: float) -> str:
    """Return a scheduled time as the schedule's clocks show it, with their distance from UTC (ISO 8601).

    >>> local_text(Schedule("@daily", "Europe/Berlin"), 68169600.0)
    '1972-02-29T01:00:00+01:00'
    """
    return datetime.fromtimestamp(at, zone_of(schedule.timezone)).isoformat()
