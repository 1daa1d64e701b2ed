from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator import LeaseLost
from orchestrator.core.recorder import Recorder
from orchestrator.domain.events import Event
from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.ports.store import Lease
from tests.unit.domain.graphs import begun, claimed, completed, pipeline


class FakeJournal:
    """A journal that notes what is appended, or refuses it."""

    def __init__(self) -> None:
        self.appended: list[tuple[Any, ...]] = []
        self.fault: BaseException | None = None
        self.gate: asyncio.Event | None = None

    async def append(
        self,
        lease: Lease,
        events: Sequence[Event],
        values: Sequence[EncodedValue],
        *,
        expected_seq: Seq,
        completed: int,
        durable: bool = False,
    ) -> Seq:
        assert lease.execution_id == "e"
        if self.fault is not None:
            raise self.fault
        if self.gate is not None:
            await self.gate.wait()
        self.appended.append((list(events), list(values), expected_seq, completed, durable))
        return Seq(expected_seq + len(events))


class Ears:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        self.heard.append((f"{execution_id} {type(event).__name__}", seq))

    def progress(self, *told: Any) -> None: ...


@pytest.fixture
def journal() -> FakeJournal:
    return FakeJournal()


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def recorder(journal: FakeJournal, ears: Ears) -> Recorder:
    state, _ = begun(pipeline({"a": (), "b": ("a",)}))
    return Recorder(journal, Lease(ExecutionId("e"), Epoch(1), "t", 0.0), state, [ears])  # type: ignore[arg-type]


async def test_facts_are_folded_at_once_and_committed_together(
    recorder: Recorder, journal: FakeJournal, ears: Ears
) -> None:
    await recorder.flush()
    assert journal.appended == []  # nothing to commit is no commit
    recorder.record(claimed("a"))
    recorder.record(completed("a"))
    assert recorder.state.done_count == 1
    assert ears.heard == []
    assert recorder.pending
    await recorder.flush()
    assert journal.appended == [([claimed("a"), completed("a")], [], 2, 1, False)]
    assert ears.heard == [("e TaskClaimed", 3), ("e TaskCompleted", 4)]
    assert not recorder.pending


async def test_large_values_ride_along_and_small_ones_are_in_the_fact(recorder: Recorder, journal: FakeJournal) -> None:
    large = EncodedValue(ValueRef(b"digest", 9, inline=False), b"123456789")
    small = EncodedValue(ValueRef(b"x", 1, inline=True), b"x")
    recorder.record(claimed("a"), large, small, durable=True)
    assert recorder.pending_value(large.ref) == b"123456789"
    await recorder.flush()
    assert journal.appended[0][1:] == ([large], 2, 0, True)
    assert recorder.pending_value(large.ref) is None
    recorder.record(completed("a"))
    await recorder.flush()
    assert journal.appended[1][4] is False  # durable holds for one commit


async def test_a_commit_that_failed_is_the_last(recorder: Recorder, journal: FakeJournal, ears: Ears) -> None:
    journal.fault = LeaseLost("e", 1)
    recorder.record(claimed("a"))
    with pytest.raises(LeaseLost):
        await recorder.flush()
    journal.fault = None
    recorder.record(completed("a"))
    with pytest.raises(LeaseLost):
        await recorder.flush()
    assert (journal.appended, ears.heard) == ([], [])


async def test_what_is_recorded_while_a_commit_is_under_way_goes_with_the_next(
    recorder: Recorder, journal: FakeJournal, ears: Ears
) -> None:
    large = EncodedValue(ValueRef(b"digest", 9, inline=False), b"123456789")
    journal.gate = asyncio.Event()
    recorder.record(claimed("a"), large)
    first = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    recorder.record(completed("a"))
    second = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    assert recorder.pending_value(large.ref) == b"123456789"
    journal.gate.set()
    await asyncio.gather(first, second)
    assert journal.appended == [([claimed("a")], [large], 2, 0, False), ([completed("a")], [], 3, 1, False)]
    assert ears.heard == [("e TaskClaimed", 3), ("e TaskCompleted", 4)]
