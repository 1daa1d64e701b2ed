"""The lease keeper, by hand: no thread, a clock that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from orchestrator import LeaseLost
from orchestrator.core.keeper import LeaseKeeper
from orchestrator.domain.ids import Epoch, ExecutionId
from orchestrator.errors import StoreDamaged, StoreUnavailable
from orchestrator.ports.store import ExecutionSummary, Holder, Lease, Request
from orchestrator.testing.clock import ManualClock

SECONDS = 30.0


@dataclass
class FakeLeases:
    """Leases that do as told: ``fault`` is raised by every call."""

    clock: ManualClock
    renewed: int = 0
    fault: BaseException | None = None
    asked: Request | None = None

    def renew(self, lease: Lease) -> None:
        if self.fault is not None:
            raise self.fault
        self.renewed += 1
        lease.deadline = self.clock.monotonic() + SECONDS

    def requests(self, lease: Lease) -> Request | None:
        del lease
        if self.fault is not None:
            raise self.fault
        return self.asked

    async def acquire(self, execution_id: ExecutionId, owner: str, *, steal: bool = False) -> Lease:
        raise NotImplementedError(f"{execution_id} {owner} {steal}")

    async def release(self, lease: Lease) -> None: ...

    async def holder(self, execution_id: ExecutionId) -> Holder | None: ...

    async def summary(self, execution_id: ExecutionId) -> ExecutionSummary:
        raise NotImplementedError(execution_id)

    async def request_cancel(self, execution_id: ExecutionId, by: str) -> None: ...

    async def request_pause(self, execution_id: ExecutionId, by: str) -> None: ...


@dataclass
class BulkyLeases(FakeLeases):
    """The same, in one round trip; ``gone`` are the tokens of leases that others took."""

    trips: int = 0
    gone: set[str] = field(default_factory=set)
    damaged: dict[str, StoreDamaged] = field(default_factory=dict)

    def tend(self, leases: Sequence[Lease], due: Sequence[Lease]) -> dict[str, Request | StoreDamaged | None]:
        self.trips += 1
        assert set(map(id, due)) <= set(map(id, leases))
        if isinstance(self.fault, LeaseLost):
            return {}
        if self.fault is not None:
            raise self.fault
        for lease in due:
            super().renew(lease)
        return {
            lease.token: self.damaged.get(lease.token, self.asked) for lease in leases if lease.token not in self.gone
        }

    def renew(self, lease: Lease) -> None:
        raise AssertionError(f"{lease} renewed alone")

    def requests(self, lease: Lease) -> Request | None:
        raise AssertionError(f"{lease} asked for alone")


@dataclass
class Kept:
    """A lease that a keeper keeps, and what the keeper told."""

    make: type[FakeLeases] = FakeLeases
    clock: ManualClock = field(default_factory=ManualClock)
    lost: list[BaseException] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leases = self.make(self.clock)
        self.keeper = LeaseKeeper(self.leases, self.clock, SECONDS)
        self.keeper._thread = object()  # type: ignore[assignment] # the test is the thread
        self.lease = Lease(ExecutionId("e"), Epoch(1), "token", self.clock.monotonic() + SECONDS)
        self.keeper.keep(self.lease, self.lost.append, self.asked.append)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.keeper.tend()


@pytest.fixture(params=[FakeLeases, BulkyLeases])
def kept(request: pytest.FixtureRequest) -> Kept:
    return Kept(request.param)


def test_a_lease_is_renewed_long_before_it_ends(kept: Kept) -> None:
    for _ in range(100):
        kept.pass_time(1)
        assert kept.lease.deadline - kept.clock.monotonic() > kept.keeper.margin
    assert 10 <= kept.leases.renewed <= 14
    assert kept.lost == []


def test_a_wall_clock_that_jumps_changes_nothing(kept: Kept) -> None:
    for jump in (1e6, -2e6):
        kept.clock.jump(jump)
        kept.pass_time(1)
    assert (kept.leases.renewed, kept.lost) == (0, [])


def test_a_lease_that_another_took_is_told_once(kept: Kept) -> None:
    error = LeaseLost("e", 1)
    kept.leases.fault = error
    kept.pass_time(1)
    kept.pass_time(1)
    assert [str(lost) for lost in kept.lost] == [str(error)]


def test_a_store_that_is_away_for_a_while_costs_nothing(kept: Kept) -> None:
    kept.leases.fault = StoreUnavailable("busy")
    kept.pass_time(8)
    kept.pass_time(8)
    kept.leases.fault = None
    kept.pass_time(1)
    assert (kept.leases.renewed, kept.lost) == (1, [])


def test_who_overslept_an_answer_asks_once_more(kept: Kept) -> None:
    kept.leases.fault = StoreUnavailable("no answer in time")
    kept.pass_time(3 * SECONDS)  # the process was stopped in the middle of a call
    assert kept.lost == []
    kept.leases.fault = stolen = LeaseLost("e", 1)
    kept.pass_time(0.5)
    assert [str(lost) for lost in kept.lost] == [str(stolen)]


def test_a_store_that_stays_away_is_given_up_before_the_lease_ends(kept: Kept) -> None:
    kept.leases.fault = StoreUnavailable("gone")
    while not kept.lost:
        kept.pass_time(1)
    assert kept.lost == [kept.leases.fault]
    assert kept.clock.monotonic() < kept.lease.deadline


def test_damage_is_told_at_once(kept: Kept) -> None:
    kept.leases.fault = StoreDamaged("the store", "it was emptied")
    kept.pass_time(1)
    assert kept.lost == [kept.leases.fault]


def test_a_fault_of_our_own_is_told_too(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.leases.fault = ZeroDivisionError("a bug")
    kept.pass_time(1)
    assert kept.lost == [kept.leases.fault]
    assert "the lease keeper failed" in caplog.text


def test_a_request_to_cancel_is_passed_on(kept: Kept) -> None:
    kept.leases.asked = Request("pause", "somebody")
    kept.pass_time(1)
    assert kept.asked == [Request("pause", "somebody")]


def test_a_dropped_lease_is_left_alone(kept: Kept) -> None:
    kept.keeper.drop(kept.lease)
    kept.leases.fault = LeaseLost("e", 1)
    kept.pass_time(100)
    assert kept.lost == []


def test_the_thread_starts_with_the_first_lease_and_ends_with_close(kept: Kept) -> None:
    keeper = LeaseKeeper(kept.leases, kept.clock, SECONDS)
    keeper.close()  # nothing to end
    keeper.keep(kept.lease, kept.lost.append, kept.asked.append)
    thread = keeper._thread
    assert thread is not None
    assert thread.daemon
    keeper.close()
    assert not thread.is_alive()


def test_many_leases_are_one_round_trip() -> None:
    kept = Kept(BulkyLeases)
    leases = kept.leases
    assert isinstance(leases, BulkyLeases)
    more = [Lease(ExecutionId(f"e{n}"), Epoch(1), f"token {n}", kept.lease.deadline) for n in range(50)]
    lost: list[BaseException] = []
    for lease in more:
        kept.keeper.keep(lease, lost.append, kept.asked.append)
    for _ in range(8):
        kept.pass_time(1)
    assert (leases.trips, leases.renewed) == (8, 51)
    leases.gone = {"token 3", "token 7"}
    kept.pass_time(1)
    kept.pass_time(1)
    assert [str(error) for error in lost] == [str(LeaseLost(f"e{n}", 1)) for n in (3, 7)]
    leases.damaged = {"token 5": StoreDamaged("e5", "its history was lost")}
    kept.pass_time(1)
    assert lost[2:] == [leases.damaged["token 5"]]
    assert kept.lost == []


def test_without_leases_there_is_no_round_trip() -> None:
    kept = Kept(BulkyLeases)
    kept.keeper.drop(kept.lease)
    kept.pass_time(100)
    assert isinstance(kept.leases, BulkyLeases)
    assert kept.leases.trips == 0
