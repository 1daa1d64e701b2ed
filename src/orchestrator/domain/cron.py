"""Times that come again: the five fields of cron, and the instants that they mean in a time zone.

A day must fit the month, and both of day of month and day of week; where neither of these two begins with ``*``, one
of them is enough (so in every cron). When clocks change:

- Times that are fixed (neither minute nor hour begins with ``*``) come once a day: one that clocks skip comes at the
  moment they have skipped it, one that they show twice the first time.
- Times with a ``*`` in minute or hour follow what clocks show: what they skip does not come, what they show twice
  comes twice. So ``*/15 * * * *`` and ``0 * * * *`` come at even distances all the year.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

YEARS = 50
"""A time that does not come within so many years never comes: 29 February on a given day of the week may take 40."""
MOST_TEXT = 500
_DAY = timedelta(days=1)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""What may be written instead of the five fields."""


class CronFault(ValueError):
    """A text is no cron expression; ``hint`` says what would be."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        names = f" or {self.words[0]}-{self.words[-1]}" if self.words else ""
        return f"expected {self.low}-{self.high}{names}, `*`, a range like 1-5, a list like 1,3, or a step like */2"


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


class Cron(NamedTuple):
    """A parsed expression: what each field allows (days of the week from 0, Sunday), sorted, and how they combine.

    ``fixed``: neither minute nor hour begins with ``*``. ``either``: one of the two days is enough.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    fixed: bool
    either: bool

    def allows(self, day: date) -> bool:
        """Tell whether something comes on this day of an allowed month."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either else (of_month and of_week)


def parse_cron(text: str) -> Cron:
    """Return what an expression means; raise CronFault, naming the field that is wrong and what was expected there.

    >>> parse_cron("30 2 * * MON-FRI").hours
    (2,)
    >>> parse_cron("0 25 * * *")
    Traceback (most recent call last):
    orchestrator.domain.cron.CronFault: hour '25': 25 is not between 0 and 23
    """
    text = text.strip()
    if text.startswith("@"):
        if text.lower() not in SHORT:
            raise CronFault(f"no time named {text[:40]!r}", f"there are {', '.join(SHORT)}")
        text = SHORT[text.lower()]
    parts = text.upper().split() if len(text) <= MOST_TEXT else []
    if len(parts) != len(_FIELDS):
        got = f"{len(parts)}" if parts or not text else "far more"
        hint = "minute, hour, day of month, month, day of week; there are no seconds: `0 2 * * *` is 02:00 each day"
        raise CronFault(f"expected five fields, got {got}", hint)
    sets = [_field(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    minutes, hours, days, months, weekdays = sets
    starred = [part.startswith("*") for part in parts]
    either = not starred[2] and not starred[4]
    if not either and min(days) > max(_LONGEST[month - 1] for month in months):
        raise CronFault(f"day of month {parts[2]!r} never comes in month {parts[3]!r}")
    return Cron(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(day % 7 for day in weekdays),
        fixed=not starred[0] and not starred[1],
        either=either,
    )


def _field(field: _Field, text: str) -> set[int]:
    found: set[int] = set()
    for item in text.split(","):
        whole, slash, step = item.partition("/")
        low, high = _range(field, text, whole, stepped=bool(slash))
        if slash and not (_is_number(step) and int(step) > 0):
            raise CronFault(f"{field.name} {text!r}: the step {step!r} is not a number from 1", field.expected)
        found.update(range(low, high + 1, int(step) if slash else 1))
    return found


def _range(field: _Field, text: str, item: str, *, stepped: bool) -> tuple[int, int]:
    if item == "*":
        return field.low, 6 if field.words is _DAYS else field.high
    first, dash, last = item.partition("-")
    low = _number(field, text, first)
    if not dash:
        return low, field.high if stepped else low
    high = _number(field, text, last)
    if last == "SUN":
        high = 7
    if high < low:
        raise CronFault(f"{field.name} {text!r}: the range {item!r} goes backwards", "write it as a list of two ranges")
    return low, high


def _number(field: _Field, text: str, item: str) -> int:
    if item in field.words:
        return field.words.index(item) + field.low
    if not _is_number(item):
        what = f"{item!r} is not a number" + (" or a name" if field.words else "") if item else "something is missing"
        raise CronFault(f"{field.name} {text!r}: {what}", field.expected)
    if not field.low <= int(item) <= field.high:
        raise CronFault(
            f"{field.name} {text!r}: {int(item)} is not between {field.low} and {field.high}", field.expected
        )
    return int(item)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4  # noqa: PLR2004 - no field has more digits


# -- instants ----------------------------------------------------------------------------------------------------


def times_after(cron: Cron, zone: tzinfo, after: float) -> Iterator[float]:
    """Yield the times after an instant, each once and in order, as seconds since 1970; ends where none comes any more.

    >>> from datetime import UTC
    >>> next(times_after(parse_cron("0 0 29 2 *"), UTC, 0.0))  # 1972-02-29
    68169600.0
    """
    # A day that clocks skipped as a whole (Apia, 2011-12-30) has its times on the next one: so one day is added.
    day = datetime.fromtimestamp(after, zone).date() - _DAY
    last_year = day.year + YEARS
    while day.year <= min(last_year, date.max.year - 1):
        if day.month not in cron.months:
            day = (day.replace(day=28) + 4 * _DAY).replace(day=1)
            continue
        if cron.allows(day):
            for at in _instants(cron, zone, day):
                if at > after:
                    yield at
                    after, last_year = at, day.year + YEARS
        day += _DAY


def _instants(cron: Cron, zone: tzinfo, day: date) -> Iterator[float]:
    """Yield the instants of a day, in order; one may come twice."""
    shown = (datetime(day.year, day.month, day.day, hour, minute) for hour in cron.hours for minute in cron.minutes)  # noqa: DTZ001 - what clocks show
    if _is_even(zone, day):
        offset = _offset(zone, datetime(day.year, day.month, day.day))  # noqa: DTZ001
        yield from ((each - offset).replace(tzinfo=UTC).timestamp() for each in shown)
        return
    found: list[float] = []
    for each in shown:
        first, second = (each - _offset(zone, each, fold) for fold in (0, 1))
        if first > second:  # clocks skip it
            if cron.fixed:
                found.append(_change(zone, second, first).replace(tzinfo=UTC).timestamp())
            continue
        found.append(first.replace(tzinfo=UTC).timestamp())
        if first < second and not cron.fixed:
            found.append(second.replace(tzinfo=UTC).timestamp())
    yield from sorted(found)


def _is_even(zone: tzinfo, day: date) -> bool:
    """Tell whether clocks do not change on a day, or near it."""
    start = datetime(day.year, day.month, day.day)  # noqa: DTZ001
    offsets = {_offset(zone, start + hours, fold) for hours in (-_DAY, _DAY / 2, 2 * _DAY) for fold in (0, 1)}
    return len(offsets) == 1


def _offset(zone: tzinfo, shown: datetime, fold: int = 0) -> timedelta:
    return shown.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()


def _change(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """Return the first second (UTC) between two at which the clocks of a zone have changed."""
    old = before.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while low < high:
        middle = (low + high) // 2
        moment = before + timedelta(seconds=middle)
        if moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() == old:
            low = middle + 1
        else:
            high = middle
    return before + timedelta(seconds=low)
