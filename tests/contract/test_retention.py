"""The policy of what is kept: what goes, why, and what never does."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import Orchestrator, UsageError
from orchestrator.cli import main
from orchestrator.core import retention
from orchestrator.core.retention import apply_retention, exceeding
from orchestrator.core.system import SystemChance
from orchestrator.domain.events import Event
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import ExecutionOwned, StoreUnavailable
from orchestrator.ports.store import ExecutionSummary, Place, Sizes, Store
from orchestrator.settings import Retention, Settings, bytes_of, load_settings, seconds_of
from orchestrator.state.opening import options_of
from orchestrator.state.url import open_store
from orchestrator.testing.clock import ManualClock
from orchestrator.testing.stores.facts import AT, completed, created, finished, started, value
from tests.everystore import STORES
from tests.unit.core.bench import wait_until

DAY = 86400.0
NOW = AT + 100 * DAY


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made = open_store(STORES[request.param](request), options_of(Settings(Path.cwd()), ManualClock(), SystemChance()))
    yield made
    await made.close()


async def put(
    store: Store, name: str, age: float = 0, *, status: str | None = "completed", pipeline: str = "p", size: int = 0
) -> None:
    """Write an execution whose last fact is so many days old."""
    at = NOW - age * DAY
    values = [value(size, seed=hash(name))] if size else []
    lease = await store.create(ExecutionId(name), "me", [created(pipeline, at=at), started(at=at)], values)
    facts = [completed(ref=values[0].ref, at=at)] if values else []
    if status not in (None, "interrupted"):
        facts.append(finished(status, at=at))  # type: ignore[arg-type]
    if facts:
        await store.append(lease, facts, values, expected_seq=Seq(2), completed=1)
    if status is not None:
        await store.release(lease)


async def names(store: Store) -> set[str]:
    return {summary.execution_id for summary in await store.summaries()}


async def apply(store: Store, *rules: Retention) -> dict[str, str]:
    """Hold what would go against what goes; return it, with the reasons."""
    before = await names(store)
    told = await exceeding(store, rules, NOW)
    assert await names(store) == before
    forgotten: list[str] = []
    gone = await apply_retention(store, rules, NOW, forgotten.append)
    assert gone == told
    assert sorted(forgotten) == sorted(each.execution_id for each in gone)
    assert await names(store) == before - {each.execution_id for each in gone}
    assert await store.check() == []
    assert await apply_retention(store, rules, NOW, forgotten.append) == []
    return {each.execution_id: each.reason for each in gone}


# -- what goes -----------------------------------------------------------------------------------------------------


async def test_what_is_older_than_its_time(store: Store) -> None:
    for name, age in (("new", 1.0), ("edge", 30.0), ("old", 30.1), ("older", 90.0)):
        await put(store, name, age)
    gone = await apply(store, Retention(keep_seconds=30 * DAY))
    assert gone == {
        "old": "rule 1: completed 30.1 days ago, kept for 30",
        "older": "rule 1: completed 90.0 days ago, kept for 30",
    }


async def test_what_is_beyond_a_count(store: Store) -> None:
    for number in range(5):
        await put(store, f"e{number}", number)
    assert await apply(store, Retention(max_count=3)) == {
        "e3": "rule 1: there are 3 newer ones",
        "e4": "rule 1: there are 3 newer ones",
    }
    assert set(await apply(store, Retention(max_count=0))) == {"e0", "e1", "e2"}


async def test_what_is_beyond_a_budget_of_bytes(store: Store) -> None:
    for number, size in enumerate((100_000, 20_000, 100_000, 1_000)):
        await put(store, f"e{number}", number, size=size)
    assert isinstance(store, Sizes)
    everything = await store.sizes([ExecutionId(f"e{number}") for number in range(4)] + [ExecutionId("ghost")])
    assert [everything[ExecutionId(f"e{number}")] // 1000 for number in range(4)] == [100, 20, 100, 1]
    gone = await apply(store, Retention(max_bytes=150_000))
    assert set(gone) == {"e2", "e3"}
    assert re.fullmatch(r"rule 1: with the newer ones it takes 22\d{4} bytes, 150000 may be", gone["e2"])


async def test_limits_of_one_rule_add_up(store: Store) -> None:
    for number in range(4):
        await put(store, f"e{number}", number * 10)
    assert set(await apply(store, Retention(keep_seconds=25 * DAY, max_count=2))) == {"e2", "e3"}


async def test_the_first_rule_that_fits_decides(store: Store) -> None:
    await put(store, "precious", 90, pipeline="audit")
    await put(store, "ancient", 400, pipeline="audit")
    await put(store, "usual", 90)
    await put(store, "failed", 90, status="failed")
    rules = [
        Retention(keep_seconds=365 * DAY, pipeline_id="audit"),
        Retention(keep_seconds=30 * DAY),
        Retention(keep_seconds=10 * DAY, statuses=("failed", "cancelled")),
    ]
    assert {name: reason[:6] for name, reason in (await apply(store, *rules)).items()} == {
        "ancient": "rule 1",
        "usual": "rule 2",
        "failed": "rule 3",
    }


# -- what never does -----------------------------------------------------------------------------------------------


async def test_what_can_go_on_stays_unless_it_is_named(store: Store) -> None:
    statuses = ("failed", "cancelled", "stopped", "interrupted")
    for status in statuses:
        await put(store, status, 90, status=status)
    assert await apply(store, Retention(keep_seconds=0.0, max_count=0)) == {}
    for status in statuses:
        assert set(await apply(store, Retention(keep_seconds=0.0, statuses=(status,)))) == {status}


async def test_what_runs_waits_or_is_paused_stays_whatever_is_named(store: Store) -> None:
    await put(store, "running", 90, status=None)
    await put(store, "waiting", 90, status="stopped")
    await store.enqueue(ExecutionId("waiting"), Place("night", 1))
    await put(store, "paused", 90, status="stopped")
    await store.request_pause(ExecutionId("paused"), "somebody")
    await store.submit(ExecutionId("submitted"), [created(at=AT)], [], Place())
    every = ("completed", "failed", "cancelled", "stopped", "interrupted")
    assert await apply(store, Retention(keep_seconds=0.0, max_count=0, statuses=every)) == {}


async def test_shared_values_stay_for_those_that_stay(store: Store) -> None:
    shared = value(200_000)
    for name, age in (("old", 90.0), ("new", 1.0)):
        at = NOW - age * DAY
        facts: list[Event] = [created(at=at), completed(ref=shared.ref, at=at), finished(at=at)]
        await store.release(await store.create(ExecutionId(name), "me", facts, [shared]))
    assert set(await apply(store, Retention(keep_seconds=30 * DAY))) == {"old"}
    assert await store.get(shared.ref) == shared.payload


async def test_what_is_taken_up_in_between_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        await put(store, f"e{number}", 90 + number, status="failed")
    summary, remove = store.summary, store.remove

    async def resumed(name: ExecutionId) -> ExecutionSummary:  # between the decision and the second look
        if name == "e1":
            monkeypatch.setattr(store, "summary", summary)
            lease = await store.acquire(name, "somebody")
            await store.append(lease, [started(2, at=NOW)], [], expected_seq=Seq(3), completed=0)
            await store.append(lease, [finished("failed", at=NOW)], [], expected_seq=Seq(4), completed=0)
        return await summary(name)

    async def taken(doomed: list[ExecutionId]) -> None:  # between the second look and the removal
        monkeypatch.setattr(store, "remove", remove)
        await store.acquire(ExecutionId("e2"), "somebody")
        await remove(doomed)

    monkeypatch.setattr(store, "summary", resumed)
    monkeypatch.setattr(store, "remove", taken)
    rule = Retention(keep_seconds=30 * DAY, statuses=("failed",))
    gone = await apply_retention(store, [rule], NOW, lambda _name: None)
    assert [each.execution_id for each in gone] == ["e0", "e3"]
    assert await names(store) == {"e1", "e2"}
    with pytest.raises(ExecutionOwned):
        await store.remove([ExecutionId("e2")])


async def test_a_budget_where_sizes_are_not_known(store: Store) -> None:
    await put(store, "e")
    blind: Any = SimpleNamespace(url="other://store", summaries=store.summaries)
    with pytest.raises(UsageError, match="the store other://store cannot tell sizes: leave max_bytes out"):
        await exceeding(blind, [Retention(max_bytes=1)], NOW)
    assert len(await exceeding(blind, [Retention(max_count=0)], NOW)) == 1


# -- killed in the middle ------------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
from orchestrator.cli import main
from orchestrator.state.sqlite import SqliteStore

wanted, verb = int(sys.argv[1]), sys.argv[2]
original = getattr(SqliteStore, verb)
calls = 0

def counted(self, *args, **named):
    global calls
    calls += 1
    if calls == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args, **named)

setattr(SqliteStore, verb, counted)
sys.exit(main(["prune"]))
"""


@pytest.mark.parametrize(("number", "verb"), [(3, "_remove_rows"), (1, "_collect_blobs")])
async def test_a_removal_killed_in_the_middle_is_completed_by_the_next_one(number: int, verb: str) -> None:
    Path("orchestrator.toml").write_text('[[retention]]\nkeep = "30 days"\nmax_count = 2\n')
    store = open_store("sqlite:///.orchestrator/store.db", options_of(load_settings(), ManualClock(), SystemChance()))
    for at in range(6):
        await put(store, f"e{at}", at, size=100_000)
    await store.close()
    killed = subprocess.run([sys.executable, "-c", CHILD, str(number), verb], check=False)
    assert killed.returncode == -9
    async with Orchestrator() as orchestrator:
        left = 6 - (number - 1 if verb == "_remove_rows" else 6)
        assert len(await orchestrator.list_executions()) == left
        await orchestrator.state_manager.apply_retention()
        assert await orchestrator.list_executions() == []
        assert (await orchestrator.state_manager.get_statistics())["values"] == 0


# -- by servers ----------------------------------------------------------------------------------------------------


async def test_a_server_keeps_its_store_tidy(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TIDY_SECONDS", 0.01)
    caplog.set_level("INFO", "orchestrator.retention")
    rules = (Retention(keep_seconds=30 * DAY),)
    async with Orchestrator("memory://tidy", settings=Settings(Path.cwd(), retention=rules)) as orchestrator:
        store = orchestrator._adapters.store
        await put(store, "first", 90)
        serving = asyncio.create_task(orchestrator.serve())
        await wait_until(lambda: "removed first: rule 1: completed" in caplog.text, description="a removal")
        with monkeypatch.context() as patch:
            patch.setattr(store, "summaries", failing)
            await wait_until(lambda: "retention: the network is gone" in caplog.text, description="a failure")
        await put(store, "second", 90)
        await wait_until(lambda: "removed second" in caplog.text, description="another removal")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


async def failing(*_args: Any, **_named: Any) -> Any:
    raise StoreUnavailable("the network is gone")


# -- rules ---------------------------------------------------------------------------------------------------------


def rules_of(text: str) -> tuple[Retention, ...]:
    Path("orchestrator.toml").write_text(text)
    return load_settings().retention


def test_rules_are_read_in_their_order() -> None:
    text = """
        [[retention]]
        keep = "52 weeks"
        pipeline_id = "audit"

        [[retention]]
        keep = "36h"
        max_count = 100
        max_bytes = "1.5 GiB"
        status = ["failed", "stopped"]

        [[retention]]
        max_bytes = 0
        status = "cancelled"
    """
    assert rules_of(text) == (
        Retention(52 * 7 * DAY, pipeline_id="audit"),
        Retention(1.5 * DAY, 100, 3 << 29, statuses=("failed", "stopped")),
        Retention(max_bytes=0, statuses=("cancelled",)),
    )
    assert rules_of("") == ()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "it limits nothing: give keep, max_count or max_bytes"),
        ("keep = 30", "not a duration: '30' .expected something like 30d"),
        ("keep = '30'", "not a duration: '30'"),
        ("keep = '-1 days'", "not a duration"),
        ("keep = '1 month'", "not a duration"),
        ("max_count = -1", "max_count: expected a whole number, 0 or more, got -1"),
        ("max_count = true", "max_count: expected a whole number"),
        ("max_count = '3'", "max_count: expected a whole number"),
        ("max_bytes = -1", "not a size: '-1'"),
        ("max_bytes = 1.5", "not a size: '1.5'"),
        ("max_bytes = '10'", "not a size: '10' .expected something like 500 MB or 10 GiB"),
        ("max_count = 1\nstatus = 'running'", "status: expected one or more of completed, .*, got 'running'"),
        ("max_count = 1\nstatus = []", r"status: expected one or more of .*, got \[\]"),
        ("max_count = 1\nstatus = [1]", "status: expected one or more of"),
        ("max_count = 1\npipeline_id = 1", "pipeline_id: expected a text, got 1"),
        ("keeps = '3 days'", r"unknown key 'keeps' \(there are keep, max_count"),
    ],
)
def test_rules_that_are_none(rule: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"orchestrator.toml: retention rule 2: {message}"):
        rules_of(f"[[retention]]\nkeep = '3 days'\n[[retention]]\n{rule}\n")


def test_rules_that_are_no_tables() -> None:
    for text in ("retention = '30 days'", "retention = ['30 days']", "[retention]\nkeep = '30 days'"):
        with pytest.raises(UsageError, match=r"retention: expected tables, each under \[\[retention\]\]"):
            rules_of(text)


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        (seconds_of, "1 second", 1.0),
        (seconds_of, " 2 min ", 120.0),
        (seconds_of, "0d", 0.0),
        (bytes_of, "0 B", 0),
        (bytes_of, "1TB", 10**12),
        (bytes_of, "2 MiB", 2 << 20),
    ],
)
def test_durations_and_sizes(function: Callable[[str], Any], text: str, expected: float) -> None:
    assert function(text) == expected


async def test_prune_without_arguments_goes_by_the_rules(capfd: pytest.CaptureFixture[str]) -> None:
    Path("orchestrator.toml").write_text('[[retention]]\nkeep = "30 days"\n')
    store = open_store("sqlite:///.orchestrator/store.db", options_of(load_settings(), ManualClock(), SystemChance()))
    await put(store, "old", 90)
    await put(store, "failed", 90, status="failed")
    await store.close()
    line = re.compile(r"old  rule 1: completed \d+\.\d days ago, kept for 30\n")
    for arguments, said in ((["--dry-run"], "would remove 1 execution\n"), ([], "removed 1 execution\n")):
        assert await asyncio.to_thread(main, ["prune", *arguments]) == 0
        written = capfd.readouterr()
        assert line.fullmatch(written.out)
        assert written.err == said
    assert await asyncio.to_thread(main, ["prune"]) == 0
    assert capfd.readouterr() == ("", "removed 0 executions\n")


def test_prune_without_arguments_and_rules(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["prune"]) == 2
    assert "[[retention]] in orchestrator.toml" in capfd.readouterr().err
    Path("orchestrator.toml").write_text('[[retention]]\nkeep = "30 days"\n')
    assert main(["prune", "--pipeline-id", "p"]) == 2
