"""Times that come again, where clocks change and months end; and which of those that came are served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.cron import SHORT, CronFault, parse_cron, times_after
from orchestrator.domain.schedule import (
    GRACE_SECONDS,
    MOST_AT_ONCE,
    Catchup,
    Due,
    Schedule,
    due,
    local_text,
    scheduled_id,
    scheduled_time,
    zone_of,
)

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia"]


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def shown(cron: str, zone: str, after: str, count: int) -> list[str]:
    """Return the next times as the zone's clocks show them, with their distance from UTC."""
    found = islice(times_after(parse_cron(cron), zone_of(zone), at(after, zone)), count)
    return [datetime.fromtimestamp(each, zone_of(zone)).strftime("%m-%dT%H:%M%z") for each in found]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 2 * * *", ["01-01T02:00", "01-02T02:00"]),
        ("*/20 23 * * *", ["01-01T23:00", "01-01T23:20", "01-01T23:40", "01-02T23:00"]),
        ("5/25 0 * * *", ["01-01T00:05", "01-01T00:30", "01-01T00:55", "01-02T00:05"]),
        ("0 9-17/4 * * mon-fri", ["01-01T09:00", "01-01T13:00", "01-01T17:00", "01-04T09:00"]),
        ("0 0 * * sat-sun", ["01-02T00:00", "01-03T00:00", "01-09T00:00"]),
        ("0 0 * * 7", ["01-03T00:00", "01-10T00:00"]),
        ("0 0 13 * fri", ["01-08T00:00", "01-13T00:00", "01-15T00:00"]),  # one of the two days is enough
        ("0 0 */2 * fri", ["01-15T00:00", "01-29T00:00", "02-05T00:00"]),  # both, for one begins with *
        ("0 0 1 jan,JUL *", ["07-01T00:00", "01-01T00:00"]),
        ("@hourly", ["01-01T01:00", "01-01T02:00"]),
        ("@Monthly", ["02-01T00:00", "03-01T00:00"]),
        ("@weekly", ["01-03T00:00", "01-10T00:00"]),
    ],
)
def test_what_the_fields_mean(cron: str, expected: list[str]) -> None:
    assert shown(cron, "UTC", "2027-01-01T00:00", len(expected)) == [f"{each}+0000" for each in expected]


def test_leap_days_come_when_they_do() -> None:
    found = islice(times_after(parse_cron("0 12 29 2 *"), UTC, at("2096-03-01")), 2)
    assert [datetime.fromtimestamp(each, UTC).year for each in found] == [2104, 2108]  # 2100 has none
    sunday = next(times_after(parse_cron("0 0 29 2 */7"), UTC, at("2072-03-01")))
    assert datetime.fromtimestamp(sunday, UTC).strftime("%F %a") == "2088-02-29 Sun"


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        # In spring clocks skip 02:00 to 03:00: a fixed time in there comes at once when they have, only once.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29T03:00+0200", "03-30T02:30+0200"]),
        ("Europe/Berlin", "0,30 2,3 * * *", "2026-03-29T00:00", ["03-29T03:00+0200", "03-29T03:30+0200"]),
        ("America/New_York", "30 2 * * *", "2026-03-07T12:00", ["03-08T03:00-0400", "03-09T02:30-0400"]),
        ("Europe/Berlin", "0 * * * *", "2026-03-29T00:30", ["03-29T01:00+0100", "03-29T03:00+0200"]),
        # In autumn they show 02:00 to 03:00 twice: a fixed time comes the first time, an hourly one both times.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25T02:30+0200", "10-26T02:30+0100"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["11-01T01:30-0400", "11-02T01:30-0500"]),
        ("Europe/Berlin", "0 * * * *", "2026-10-25T01:30", ["10-25T02:00+0200", "10-25T02:00+0100"]),
        # On Lord Howe Island they change by half an hour.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", ["10-04T02:30+1100", "10-05T02:15+1100"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", ["04-05T01:45+1100", "04-06T01:45+1030"]),
        ("Australia/Lord_Howe", "*/30 * * * *", "2026-04-05T01:15", ["04-05T01:30+1100", "04-05T01:30+1030"]),
        ("Australia/Lord_Howe", "*/27 7 * * *", "2009-04-04T12:00", ["04-05T07:00+1030", "04-05T07:27+1030"]),
        # Samoa had no 30 December in 2011, and Cairo's clocks skip midnight.
        ("Pacific/Apia", "0 8 * * *", "2011-12-29T09:00", ["12-31T00:00+1400", "12-31T08:00+1400"]),
        ("Africa/Cairo", "15 0 * * *", "2026-04-23T12:00", ["04-24T01:00+0300", "04-25T00:15+0300"]),
    ],
)
def test_clocks_change(zone: str, cron: str, after: str, expected: list[str]) -> None:
    assert shown(cron, zone, after, 2) == expected


@pytest.mark.parametrize(
    ("cron", "message", "hint"),
    [
        ("", "expected five fields, got 0", "there are no seconds"),
        ("0 0 2 * * *", "expected five fields, got 6", "there are no seconds"),
        ("1," * 300, "expected five fields, got far more", "minute, hour"),
        ("60 * * * *", "minute '60': 60 is not between 0 and 59", "expected 0-59"),
        ("0 -1 * * *", "hour '-1': something is missing", "expected 0-23"),
        ("0 0 0 * *", "day of month '0': 0 is not between 1 and 31", "expected 1-31"),
        ("0 0 1 MAX *", "month 'MAX': 'MAX' is not a number or a name", "JAN-DEC"),
        ("0 0 * * 5-1", "day of week '5-1': the range '5-1' goes backwards", "two ranges"),
        ("*/0 * * * *", "minute '*/0': the step '0' is not a number from 1", "a step like */2"),
        ("*/ * * * *", "minute '*/': the step '' is not a number from 1", "a step like */2"),
        ("1,,2 * * * *", "minute '1,,2': something is missing", "a list like 1,3"),
        ("٣ * * * *", "minute '٣': '٣' is not a number", "expected 0-59"),
        ("0 0 30 2 *", "day of month '30' never comes in month '2'", ""),
        ("0 0 31 4,6,9,11 *", "day of month '31' never comes in month '4,6,9,11'", ""),
        ("@reboot", "no time named '@reboot'", "@daily"),
    ],
)
def test_a_mistake_names_the_field_and_what_was_expected(cron: str, message: str, hint: str) -> None:
    with pytest.raises(CronFault) as caught:
        parse_cron(cron)
    assert str(caught.value) == message
    assert hint in (caught.value.hint or "")


# -- properties --------------------------------------------------------------------------------------------------


def field(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high).map(str)
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda two: f"{min(two)}-{max(two)}")
    step = st.integers(1, high).map(lambda each: f"*/{each}")
    return st.just("*") | step | st.lists(one | pair, min_size=1, max_size=3).map(",".join)


crons = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)).map(" ".join)
CHANGES = [
    "2026-03-28",
    "2026-03-07",
    "2026-10-24",
    "2026-10-31",
    "2026-04-04",
    "2026-10-03",
    "2026-04-23",
    "2011-12-29",
]
days = st.sampled_from(CHANGES) | st.dates(datetime(2000, 1, 1).date(), datetime(2037, 12, 1).date()).map(str)  # noqa: DTZ001


@settings(max_examples=20, deadline=None)
@given(crons, st.sampled_from(ZONES), days)
def test_all_that_clocks_show_comes_and_nothing_else(text: str, name: str, day: str) -> None:
    cron, zone = parse_cron(text), zone_of(name)
    begin, end = at(day, name), at(day, name) + 36 * 3600
    found: list[float] = []
    for each in times_after(cron, zone, begin):
        if each > end:
            break
        found.append(each)
    assert found == sorted(set(found))
    matching = []
    for minute in range(int(begin) + 60, int(end) + 1, 60):
        local = datetime.fromtimestamp(minute, zone)
        if (
            local.minute in cron.minutes
            and local.hour in cron.hours
            and local.month in cron.months
            and cron.allows(local)
        ):
            matching.append(float(minute))
    if not cron.fixed:
        assert found == matching
        return
    first = {datetime.fromtimestamp(each, zone).replace(tzinfo=None): each for each in reversed(matching)}
    kept = set(found) & set(matching)
    assert {each for each in first.values() if each > begin} <= kept | {begin}  # each once, and the first time
    assert len({datetime.fromtimestamp(each, zone).replace(tzinfo=None) for each in found}) == len(found)
    for late in set(found) - set(matching):  # just when clocks have skipped it
        before, after = (datetime.fromtimestamp(each, zone).utcoffset() or timedelta() for each in (late - 1, late))
        assert before < after


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["*/7 * * * *", "0 * * * *", "30 2 * * *", "@daily"]),
    st.sampled_from(ZONES),
    st.sampled_from(Catchup),
    st.integers(1_700_000_000, 1_900_000_000),
    st.lists(st.integers(1, 200_000), min_size=1, max_size=6),
)
def test_no_time_is_served_twice_or_forgotten(
    cron: str, zone: str, catchup: Catchup, start: int, waits: list[int]
) -> None:
    schedule = Schedule(cron, zone, catchup)
    last, served, passed = float(start), list[float](), 0
    for wait in waits:
        found = due(schedule, last, last + wait)
        assert all(last < each <= last + wait for each in found.times)
        assert found.following is not None
        assert found.following > last + wait
        assert due(schedule, last, found.following - 1).following == found.following
        if catchup is Catchup.NONE:
            assert all(last + wait - each <= GRACE_SECONDS for each in found.times)
        assert len(found.times) <= (MOST_AT_ONCE if catchup is Catchup.ALL else 1)
        served += found.times
        passed += found.passed
        last += wait
    assert served == sorted(set(served))
    all_times = due(Schedule(cron, zone, Catchup.ALL), float(start), last)
    assert len(served) + passed == len(all_times.times) + all_times.passed
    if catchup is Catchup.ALL and not passed:
        assert tuple(served) == all_times.times


def test_what_was_missed_is_made_up_for_as_told() -> None:
    last, now = at("2026-01-01T00:00"), at("2026-01-04T00:30")
    midnights = [at(f"2026-01-0{day}") for day in (2, 3, 4)]
    following = at("2026-01-05")
    assert due(Schedule("@daily"), last, now) == Due((), 3, following)
    assert due(Schedule("@daily"), last, midnights[2] + 60) == Due((midnights[2],), 2, following)
    assert due(Schedule("@daily", catchup=Catchup.LATEST), last, now) == Due((midnights[2],), 2, following)
    assert due(Schedule("@daily", catchup=Catchup.ALL), last, now) == Due(tuple(midnights), 0, following)
    many = due(Schedule("* * * * *", catchup=Catchup.ALL), last, now)
    assert (len(many.times), many.passed, many.times[-1]) == (MOST_AT_ONCE, 3 * 1440 + 30 - MOST_AT_ONCE, now)
    assert due(Schedule("@daily"), now, last) == Due((), 0, following)  # the clock was set back: nothing comes again


def test_a_time_is_in_the_id_of_its_execution() -> None:
    name = scheduled_id("a.b", at("2026-03-29T01:30"))
    assert name == "a.b.2026-03-29T0130Z"
    assert scheduled_time("a.b", name) == at("2026-03-29T01:30")
    for other in ("a.b", "a.b.c", "a.b.2026-3-29T0130Z", "a.b.2026-13-29T0130Z", "c.2026-03-29T0130Z", ""):
        assert scheduled_time("a.b", other) is None
    assert local_text(Schedule("@daily", "Europe/Berlin"), at("2026-10-25T01:30")) == "2026-10-25T02:30:00+01:00"
    assert set(SHORT) > {"@daily", "@hourly"}
