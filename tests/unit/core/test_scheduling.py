"""Schedules served: each time once over many servers, what overlaps, what was missed, and what an edit does."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator import DefinitionError, Orchestrator, UsageError
from orchestrator.core.scheduling import LOOK_AGAIN_SECONDS
from orchestrator.core.serving import Notice
from orchestrator.core.system import SystemClock
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.pipeline import Pipeline
from orchestrator.domain.schedule import MOST_AT_ONCE
from orchestrator.errors import StoreUnavailable
from orchestrator.ports.store import ExecutionSummary, Place
from tests.unit.core.bench import Bench, journal, step, wait_until

START = datetime(2026, 3, 29, 0, 30, tzinfo=UTC).timestamp()
HOUR = 3600.0


class WallClock(SystemClock):
    """A wall clock that a test sets; durations stay real."""

    def __init__(self, now: float = START) -> None:
        self.at = now

    def now(self) -> float:
        return self.at


class Shift:
    """A server that looks when it is told to: it makes executions of what is due, and runs what it finds."""

    def __init__(self, orchestrator: Orchestrator, clock: WallClock, *schedules: Pipeline | Path) -> None:
        self.orchestrator = orchestrator
        orchestrator._clock = clock
        self.told: list[Notice] = []
        service = _Service()
        self.scheduler = orchestrator._scheduler(schedules, service, self.told.append)  # type: ignore[arg-type]

    async def look(self) -> list[tuple[str, str]]:
        """Look once; return what it said: the kind, and the execution or else the words."""
        self.told.clear()
        await self.scheduler.look()
        return [(told.kind, told.execution_id or told.text) for told in self.told if told.kind != "schedule"]


class _Service:
    queues = ("nightly",)


@pytest.fixture
def url() -> str:
    return "sqlite:///store.db"


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


def hourly(bench: Bench, tool: str = "echo", **schedule: Any) -> Pipeline:
    given = {"cron": "0 * * * *", "timezone": "Europe/Berlin", "input": "at"} | schedule
    return bench.pipeline(
        step("a", tool, value="{{ inputs.at }}"), schedule=given, inputs={"at": {"type": "string"}}, id="h"
    )


async def summaries(orchestrator: Orchestrator) -> dict[str, ExecutionSummary]:
    return {str(one.execution_id): one for one in reversed(await orchestrator.list_executions())}


def name(hour: str) -> str:
    return f"h.2026-03-29T{hour}Z"


async def finish(orchestrator: Orchestrator, name: str) -> str:
    """Take an execution and run it to its end; return what its step was given."""
    result = await orchestrator.resume_pipeline(name)
    assert result.status == "completed"
    return str(await orchestrator.get_result(name, "a"))


async def test_of_two_servers_one_makes_the_execution_of_a_time(bench: Bench, clock: WallClock) -> None:
    pipeline = hourly(bench)
    first, second = (Shift(bench.open(), clock, pipeline) for _ in range(2))
    assert await first.look() == await second.look() == []
    clock.at = START + HOUR / 2
    said = await asyncio.gather(first.look(), second.look())
    assert sorted(said) == [[], [("scheduled", name("0100"))]]
    assert await first.look() == await second.look() == []
    made = (await summaries(first.orchestrator))[name("0100")]
    assert (made.place, made.waiting, made.status) == (Place("nightly"), True, ExecutionStatus.CREATED)
    assert await finish(first.orchestrator, name("0100")) == "2026-03-29T03:00:00+02:00"  # 02:00 there was none
    assert first.scheduler.wait_seconds() == HOUR


async def test_a_new_server_goes_on_from_what_the_store_knows(bench: Bench, clock: WallClock) -> None:
    pipeline = hourly(bench, catchup="all", overlap="allow")
    assert await Shift(bench.open(), clock, pipeline).look() == []
    (begun,) = (await summaries(bench.open())).items()
    assert (begun[0], begun[1].status) == (name("0030"), ExecutionStatus.CANCELLED)
    clock.at = START + 3 * HOUR
    later = Shift(bench.open(), clock, pipeline)
    assert await later.look() == [("scheduled", name(hour)) for hour in ("0100", "0200", "0300")]
    assert await Shift(bench.open(), clock, pipeline).look() == []
    state = await later.orchestrator.get_state(name("0030"))
    assert state.cancel_requested == "the schedule: it is served from here on"


async def test_without_catchup_what_was_missed_is_told_and_not_run(bench: Bench, clock: WallClock) -> None:
    one = Shift(bench.open(), clock, hourly(bench))
    await one.look()
    clock.at = START + 2.75 * HOUR
    assert await one.look() == [
        ("missed", "3 times of h came while nobody served the schedule: not run (catchup: none)")
    ]
    clock.at = START + 3.5 * HOUR + 59  # a restart may take a minute
    assert await one.look() == [("scheduled", name("0400"))]
    clock.at = START  # set back: nothing comes again
    assert await one.look() == []
    latest = Shift(bench.open(), clock, hourly(bench, catchup="latest"))
    clock.at = START + 6 * HOUR
    assert [kind for kind, _ in await latest.look()] == ["missed", "waits"]
    assert set(await summaries(latest.orchestrator)) == {name("0400"), name("0600")}


async def test_what_is_skipped_is_on_record_and_can_be_run_by_hand(bench: Bench, clock: WallClock) -> None:
    pipeline = hourly(bench, overlap="skip")
    first, second = (Shift(bench.open(), clock, pipeline) for _ in range(2))
    await asyncio.gather(first.look(), second.look())
    clock.at = START + HOUR / 2
    await first.look()
    clock.at = START + 1.5 * HOUR
    assert await first.look() == [("skipped", name("0200"))]
    await finish(first.orchestrator, name("0100"))
    assert await second.look() == []  # it is decided, although the earlier one has ended by now
    found = await summaries(first.orchestrator)
    assert (found[name("0200")].status, found[name("0200")].waiting) == (ExecutionStatus.CANCELLED, False)
    state = await second.orchestrator.get_state(name("0200"))
    assert state.cancel_requested == f"the schedule: {name('0100')} had not ended (overlap: skip)"
    clock.at = START + 2.5 * HOUR
    assert await second.look() == [("scheduled", name("0300"))]
    assert await finish(first.orchestrator, name("0200")) == "2026-03-29T04:00:00+02:00"


async def test_those_that_wait_have_their_turn_one_after_the_other(bench: Bench, clock: WallClock) -> None:
    pipeline = hourly(bench, catchup="all")
    first, second = (Shift(bench.open(), clock, pipeline) for _ in range(2))
    await first.look()
    clock.at = START + 3 * HOUR
    said = await asyncio.gather(first.look(), second.look())
    assert sorted(kind for each in said for kind, _ in each) == ["scheduled", "waits", "waits"]
    order = [name(hour) for hour in ("0100", "0200", "0300")]
    for number, each in enumerate(order):
        waiting = [key for key, one in (await summaries(first.orchestrator)).items() if one.waiting]
        assert waiting == [each]
        restarted = Shift(bench.open(), clock, pipeline)
        assert await restarted.look() == []
        await finish(first.orchestrator, each)
        heard = await asyncio.gather(first.look(), second.look(), restarted.look())
        assert [one for each in heard for one in each] == [
            ("scheduled", following) for following in order[number + 1 :][:1]
        ]


async def test_one_that_failed_is_not_taken_up_again_for_its_turn(bench: Bench, clock: WallClock) -> None:
    one = Shift(bench.open(), clock, hourly(bench, tool="fail", catchup="all"))
    await one.look()
    clock.at = START + 2 * HOUR
    await one.look()
    with pytest.raises(Exception, match="failed"):
        await one.orchestrator.resume_pipeline(name("0100"))
    assert await one.look() == [("scheduled", name("0200"))]
    assert [key for key, each in (await summaries(one.orchestrator)).items() if each.waiting] == [name("0200")]


async def test_one_that_ran_and_failed_meanwhile_is_not_given_a_second_turn(
    bench: Bench, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = hourly(bench, tool="fail", catchup="all")
    slow, quick = (Shift(bench.open(), clock, pipeline) for _ in range(2))
    await asyncio.gather(slow.look(), quick.look())
    clock.at = START + 2 * HOUR
    await slow.look()
    await quick.look()  # finds it decided, and looks after what waits, too
    bench.failed["a"] = 5  # the first one's step does well
    await finish(slow.orchestrator, name("0100"))
    borrow = slow.orchestrator._live.borrow

    async def late(execution_id: Any) -> Any:
        assert await quick.look() == [("scheduled", name("0200"))]
        bench.failed["a"] = 0
        with pytest.raises(Exception, match="failed"):
            await quick.orchestrator.resume_pipeline(name("0200"))
        return await borrow(execution_id)

    monkeypatch.setattr(slow.orchestrator._live, "borrow", late)
    assert await slow.look() == []
    found = (await summaries(slow.orchestrator))[name("0200")]
    assert (found.status, found.waiting) == (ExecutionStatus.FAILED, False)


async def test_two_servers_that_begin_a_schedule_agree(
    bench: Bench, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Shift(bench.open(), clock, hourly(bench, catchup="all")) for _ in range(2))
    await first.look()

    async def nothing() -> None:
        return None

    monkeypatch.setattr(second.scheduler._lines[0], "_newest", nothing)
    assert await second.look() == []
    assert list(await summaries(first.orchestrator)) == [name("0030")]


async def test_a_paused_one_waits_for_a_person(bench: Bench, clock: WallClock) -> None:
    one = Shift(bench.open(), clock, hourly(bench, catchup="all"))
    await one.look()
    clock.at = START + 2 * HOUR
    await one.look()
    await one.orchestrator.pause(name("0200"))
    await finish(one.orchestrator, name("0100"))
    assert await one.look() == []
    clock.at += HOUR
    assert await one.look() == [("waits", name("0300"))]
    assert await one.orchestrator.cancel(name("0200"))
    assert await one.look() == [("scheduled", name("0300"))]


async def test_a_later_time_cancels_an_earlier_run(bench: Bench, clock: WallClock) -> None:
    one = Shift(bench.open(), clock, hourly(bench, tool="hold", overlap="cancel"))
    await one.look()
    clock.at = START + HOUR / 2
    await one.look()
    running = asyncio.create_task(one.orchestrator.resume_pipeline(name("0100")))
    await bench.started("a")
    clock.at = START + 1.5 * HOUR
    said = await one.look()
    assert said[:2] == [("waits", name("0200")), ("cancelling", name("0100"))]
    with pytest.raises(Exception, match="cancelled"):
        await running
    await one.look()
    found = await summaries(one.orchestrator)
    assert found[name("0100")].status is ExecutionStatus.CANCELLED
    assert found[name("0200")].waiting


async def test_more_do_not_wait_than_may(bench: Bench, clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.core.scheduling.MOST_AT_ONCE", 2)
    assert MOST_AT_ONCE > 2
    one = Shift(bench.open(), clock, hourly(bench, catchup="all"))
    await one.look()
    clock.at = START + 4 * HOUR
    assert [kind for kind, _ in await one.look()] == ["scheduled", "waits", "skipped", "skipped"]


async def test_a_store_that_goes_away_costs_no_time(
    bench: Bench, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Shift(bench.open(), clock, hourly(bench, catchup="all", overlap="allow"))
    await one.look()
    clock.at = START + 3 * HOUR
    submit, calls = type(one.orchestrator._live).submit, list[str]()

    async def away(live: Any, pipeline: Any, inputs: Any, execution_id: str, *rest: Any) -> None:
        calls.append(execution_id)
        if len(calls) == 3:  # written, and then nobody heard of it
            await submit(live, pipeline, inputs, execution_id, *rest)
        if len(calls) in (2, 3):
            raise StoreUnavailable("gone")
        await submit(live, pipeline, inputs, execution_id, *rest)

    monkeypatch.setattr(type(one.orchestrator._live), "submit", away)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await one.look()
    await one.look()
    assert calls == [name(hour) for hour in ("0100", "0200", "0200", "0200", "0300")]
    assert list(await summaries(one.orchestrator))[1:] == [name(hour) for hour in ("0100", "0200", "0300")]


@pytest.fixture
async def edited(bench: Bench, clock: WallClock, tmp_path: Path) -> tuple[Shift, Path]:
    file = tmp_path / "h.yaml"
    write(file, "0 * * * *")
    return Shift(bench.open(), clock, file), file


def write(file: Path, cron: str) -> None:
    file.write_text(f'id: h\nschedule: "{cron}"\nsteps: [{{id: a, tool: echo}}]\n')
    os.utime(file, ns=(0, len(cron) + file.stat().st_mtime_ns))


async def test_an_edited_file_holds_from_then_on(
    edited: tuple[Shift, Path], clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift, file = edited
    looks: list[int] = []
    monkeypatch.setattr(clock, "monotonic", lambda: SystemClock().monotonic() + LOOK_AGAIN_SECONDS * len(looks))

    async def look() -> list[tuple[str, str]]:
        looks.append(1)
        return await shift.look()

    assert await look() == []
    write(file, "0,45 25 * * *")
    ((kind, text),) = await look()
    assert kind == "trouble"
    assert "h.yaml:2:11  schedule.cron: hour '25'" in text
    assert await look() == []
    clock.at = START + HOUR / 2
    assert await look() == [("scheduled", name("0100"))]  # what held before holds until the file is right
    write(file, "*/20 * * * *")
    clock.at += 50 * 60
    assert [kind for kind, _ in await look()] == ["reread"]
    clock.at = START + 1.5 * HOUR
    assert await look() == [("waits", name("0200"))]


async def test_an_edit_of_the_schedule_runs_nothing_again(bench: Bench) -> None:
    orchestrator = bench.open()
    pipeline = hourly(bench, tool="fail")
    given = {"at": "x"}
    with pytest.raises(Exception, match="failed"):
        await orchestrator.run_pipeline(pipeline, given, execution_id="e")
    held = hourly(bench, tool="fail", cron="*/5 * * * *", timezone="UTC", overlap="skip")
    found = await orchestrator.plan("e", pipeline=held)
    assert found.decisions == (await orchestrator.plan("e")).decisions
    done = bench.pipeline(step("a"), schedule="@daily", id="q")
    await orchestrator.run_pipeline(done, execution_id="d")
    facts = await journal(orchestrator, "d")
    found = await orchestrator.plan("d", pipeline=bench.pipeline(step("a"), schedule="@hourly", id="q"))
    assert [decision.verb.value for decision in found.decisions] == ["reuse"]
    assert await journal(orchestrator, "d") == facts


async def test_a_server_serves_schedules_to_the_end(bench: Bench, clock: WallClock) -> None:
    orchestrator = bench.open()
    orchestrator._clock = clock
    pipeline = hourly(bench, catchup="all")
    told: list[Notice] = []
    await orchestrator.serve(until_idle=True, schedules=[pipeline], told=told.append)
    clock.at = START + 3 * HOUR
    await orchestrator.serve(until_idle=True, schedules=[pipeline], told=told.append)
    ended = [notice.execution_id for notice in told if notice.kind == "ended"]
    assert ended == [name(hour) for hour in ("0100", "0200", "0300")]


async def test_a_server_waits_for_a_store_that_takes_nothing(
    bench: Bench, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator = bench.open()
    orchestrator._clock = clock
    orchestrator._chance.random = lambda: -0.499  # type: ignore[method-assign]
    pipeline = hourly(bench)
    told: list[Notice] = []
    failed: list[str] = []
    submit = type(orchestrator._live).submit

    async def full(live: Any, *arguments: Any) -> None:
        if len(failed) < 2:
            failed.append("full")
            raise StoreUnavailable("the disk is full")
        await submit(live, *arguments)

    monkeypatch.setattr(type(orchestrator._live), "submit", full)
    task = asyncio.create_task(orchestrator.serve(schedules=[pipeline], told=told.append))
    await wait_until(lambda: told, description="it is served")
    clock.at = START + HOUR / 2
    await wait_until(lambda: any(notice.kind == "ended" for notice in told), description="it is run")
    orchestrator._fleet.stop(15)
    await task
    assert [notice.kind for notice in told] == ["schedule", "trouble", "scheduled", "recovered", "taken", "ended"]


async def test_what_cannot_be_served_is_refused(bench: Bench, tmp_path: Path) -> None:
    orchestrator = bench.open()
    for wrong, message in (
        ([bench.pipeline(step("a"))], "pipeline p has no schedule .add one"),
        ([tmp_path / "none.yaml"], "there is no such file"),
    ):
        with pytest.raises(DefinitionError, match=message):
            await orchestrator.serve(schedules=wrong)
    with pytest.raises(UsageError, match="two schedules of one pipeline, h"):
        await orchestrator.serve(schedules=[hourly(bench), hourly(bench)])


async def test_a_stop_ends_a_server_of_schedules(bench: Bench) -> None:
    orchestrator = bench.open()
    task = asyncio.create_task(orchestrator.serve(schedules=[hourly(bench)]))
    await wait_until(lambda: orchestrator._fleet._servers, description="it serves")
    orchestrator._fleet.stop(15)
    await asyncio.wait_for(task, 20)
