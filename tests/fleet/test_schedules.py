"""Schedules over processes: whatever is killed, each time is run, and once. The wall clock of all is a file."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import yaml

from orchestrator import ExecutionStatus
from orchestrator.domain.schedule import scheduled_id
from tests.fleet.yard import Process, Yard, chain, wait_until

pytestmark = pytest.mark.chaos
START = 1_774_740_600.0  # a minute's begin
PROGRAM = """
import pathlib, sys
from orchestrator.core.system import SystemClock
SystemClock.now = lambda self: float(pathlib.Path("now.txt").read_text())
from orchestrator.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


class Minutes:
    """The wall clock of the processes in a yard, and what a schedule of every minute is to have made by now."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "now.txt"
        self.count = 0
        self.set(START)

    def set(self, now: float) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(str(now))
        new.replace(self.file)

    def pass_(self, count: int = 1) -> None:
        """Let minutes pass."""
        self.count += count
        self.set(START + 60 * self.count + 1)

    def names(self) -> list[str]:
        return [scheduled_id("m", START + 60 * (1 + minute)) for minute in range(self.count)]


@pytest.fixture
def minutes(yard: Yard) -> Minutes:
    (yard.folder / "clocked.py").write_text(PROGRAM)
    yard.program = ("clocked.py",)
    return Minutes(yard.folder)


def write(yard: Yard, **schedule: str) -> None:
    definition = chain([0.0], name="m") | {"schedule": {"cron": "* * * * *", **schedule}}
    (yard.folder / "m.yaml").write_text(yaml.safe_dump(definition))


def serve(yard: Yard, *arguments: str) -> Process:
    """Start a server of the schedule, and return once it knows what comes next."""
    server = yard.serve("--schedule", "m.yaml", *arguments)
    wait_until(lambda: any(line["event"] == "schedule" for line in server.lines()), "the schedule is served")
    return server


async def test_servers_that_are_killed_run_each_time_once(
    yard: Yard, minutes: Minutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(yard, catchup="all")
    async with yard.open() as orchestrator:

        async def statuses() -> dict[str, ExecutionStatus]:
            return {str(one.execution_id): one.status for one in await orchestrator.list_executions(pipeline_id="m")}

        first = serve(yard)
        begun = scheduled_id("m", START)
        assert set(await statuses()) == {begun}  # what tells since when it is served
        monkeypatch.setenv("ORCHESTRATOR_CRASH_POINT", "before_admission")
        second = serve(yard)
        monkeypatch.delenv("ORCHESTRATOR_CRASH_POINT")
        minutes.pass_()
        assert second.end() == -9  # at its decision, with nothing written
        wait_until(partial(yard.has_begun, minutes.names()[-1], "s0"), "the first minute's is run")
        minutes.pass_(2)
        wait_until(partial(yard.has_begun, minutes.names()[-1], "s0"), "the third minute's is run")
        first.kill()
        minutes.pass_(3)  # nobody serves
        last = serve(yard, "--exit-when-idle")
        assert last.end() == 0
        found = await statuses()
        assert found.pop(begun) is ExecutionStatus.CANCELLED
        assert found == dict.fromkeys(minutes.names(), ExecutionStatus.COMPLETED)
        made = Counter(name for each in (first, last) for name in each.told("scheduled"))
        assert made == dict.fromkeys(minutes.names(), 1)
        # The fourth waits as well if the third was still at work when its server died.
        assert last.told("waits") in (minutes.names()[3:], minutes.names()[4:])
        assert await orchestrator.state_manager.verify() == []


async def test_what_a_server_made_and_could_not_tell_of_is_run(
    yard: Yard, minutes: Minutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(yard)
    monkeypatch.setenv("ORCHESTRATOR_CRASH_POINT", "after_admission")
    first = serve(yard)
    monkeypatch.delenv("ORCHESTRATOR_CRASH_POINT")
    minutes.pass_()
    assert first.end() == -9
    second = serve(yard)
    (name,) = minutes.names()
    wait_until(lambda: second.when("ended", name), "it is run")
    assert second.told("scheduled") == []
    assert yard.begun() == {(name, "s0"): 1}
    minutes.pass_()
    wait_until(lambda: second.when("ended", minutes.names()[-1]), "the next is run, too")
    assert second.told("scheduled") == minutes.names()[1:]
