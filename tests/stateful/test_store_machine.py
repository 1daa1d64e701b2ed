"""One machine for all stores: whatever happens to a store, it holds what a dict would hold.

Two executions, two processes (handles). A process may crash: its handle is dropped as it is. With SQLite the
kernel then closes its descriptors: that is what gives up its lock files, and it is what ``crash`` does by hand.
``HYPOTHESIS_PROFILE=long`` runs many more examples.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.domain.events import Event
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import (
    ExecutionExists,
    ExecutionOwned,
    JournalConflict,
    LeaseLost,
    StoreDamaged,
    UnknownExecution,
    ValueGone,
)
from orchestrator.ports.store import CacheEntry, Lease, Request
from orchestrator.state.commits import gives_back, status_after
from orchestrator.state.memory import MemoryStore
from orchestrator.state.postgres import PostgresStore, parse_target
from orchestrator.state.redis import RedisStore
from orchestrator.state.sqlite import SqliteStore
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.stores.facts import (
    AT,
    checkpoint,
    claimed,
    commits,
    completed,
    created,
    finished,
    started,
    value,
)
from tests.contract.redis_tools import open_redis, set_leases

T = TypeVar("T")
PROCESSES = 2
STEPS_BETWEEN_RESTARTS = 6
STANDSTILL_SECONDS = 0.3
SIZES = [10, 3000, 70_000]
FINGERPRINTS = [bytes(32), bytes([255]) * 32]

names = st.sampled_from(["a", "%"])
processes = st.integers(0, PROCESSES - 1)
kept_values = st.builds(value, st.sampled_from(SIZES))
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(claimed, st.sampled_from("tuv")),
    st.builds(checkpoint, st.dictionaries(st.text(max_size=3), st.integers() | st.none(), max_size=2)),
    st.builds(started, st.integers(1, 9)),
)


@dataclass
class Model:
    """What an execution is to the model; ``owner`` is the lease that may write, and its process."""

    pipeline_id: str
    journal: list[list[Event]]
    counts: list[int]
    epoch: int = 1
    owner: tuple[int, Lease] | None = None
    cancel: str | None = None
    crashed: bool = False
    hidden: set[int] = field(default_factory=set)
    values: dict[bytes, EncodedValue] = field(default_factory=dict)
    cache: dict[bytes, CacheEntry] = field(default_factory=dict)

    @property
    def facts(self) -> list[Event]:
        return [event for commit in self.journal for event in commit]


class StoreMachine(RuleBasedStateMachine):
    """Rules over handles of one store; subclasses say which."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.chance = SeededChance()
        self.model: dict[str, Model] = {}
        self.ended: list[tuple[int, Lease]] = []
        self.born = 0.0
        self.steps = 0
        self.prepare()
        self.stores = [self.open() for _ in range(PROCESSES)]

    def prepare(self) -> None:
        raise NotImplementedError

    def open(self) -> Any:
        raise NotImplementedError

    def crash(self, store: Any) -> None:
        raise NotImplementedError

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of a store: none of them waits for anything."""
        try:
            act.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        raise AssertionError("a store waited")

    # -- what the model says -----------------------------------------------------------------------------------------

    def owned(self, data: st.DataObject) -> tuple[str, Model, int, Lease]:
        name = data.draw(st.sampled_from([name for name, model in self.model.items() if model.owner is not None]))
        model = self.model[name]
        assert model.owner is not None
        return name, model, *model.owner

    def somebody_owns(self) -> bool:
        return any(model.owner is not None for model in self.model.values())

    def end(self, model: Model) -> None:
        if model.owner is not None:
            self.ended.append(model.owner)
            model.owner = None

    # -- rules -------------------------------------------------------------------------------------------------------

    @initialize(kept=st.lists(kept_values, max_size=2))
    def begin(self, kept: list[EncodedValue]) -> None:
        for process, name in enumerate(("a", "%")):
            self.create(name, process, kept)

    @rule(name=names, process=processes, kept=st.lists(kept_values, max_size=2))
    def create(self, name: str, process: int, kept: list[EncodedValue]) -> None:
        self.born += 1
        first = created(f"pipeline of {name}", at=AT + self.born)
        act = self.stores[process].create(ExecutionId(name), f"process {process}", [first], kept)
        if name in self.model:
            with pytest.raises(ExecutionExists):
                self.run(act)
            return
        lease = self.run(act)
        assert lease.epoch == 1
        model = Model(first.pipeline_id, [[first]], [0], owner=(process, lease))
        model.values = {one.ref.data: one for one in kept if not one.ref.inline}
        self.model[name] = model
        self.granted(name, process, lease)

    @precondition(somebody_owns)
    @rule(
        data=st.data(),
        facts=st.lists(events, min_size=1, max_size=4),
        kept=st.lists(kept_values, max_size=2),
        end=st.sampled_from([None, None, None, "completed", "failed", "stopped"]),
        durable=st.booleans(),
    )
    def append(
        self, data: st.DataObject, facts: list[Event], kept: list[EncodedValue], end: str | None, durable: bool
    ) -> None:
        _, model, process, lease = self.owned(data)
        facts = [*facts, *(completed("t", one.ref) for one in kept), *([finished(end)] if end else [])]
        before = len(model.facts)
        act = self.stores[process].append(
            lease, facts, kept, expected_seq=Seq(before), completed=before % 7, durable=durable
        )
        assert self.run(act) == before + len(facts)
        model.journal.append(facts)
        model.counts.append(before % 7)
        model.values |= {one.ref.data: one for one in kept if not one.ref.inline}
        if gives_back(facts):
            self.end(model)
            self.given_up(process, lease)

    @precondition(somebody_owns)
    @rule(data=st.data(), kept=kept_values)
    def append_what_is_there_already(self, data: st.DataObject, kept: EncodedValue) -> None:
        _, model, process, lease = self.owned(data)
        before, facts = len(model.facts), [completed("t", kept.ref)]
        act = self.stores[process].append(lease, facts, [kept.ref], expected_seq=Seq(before), completed=0)
        if not kept.ref.inline and not any(kept.ref.data in each.values for each in self.model.values()):
            with pytest.raises(ValueGone):
                self.run(act)
            return
        assert self.run(act) == before + 1
        model.journal.append([*facts])
        model.counts.append(0)
        model.values |= {} if kept.ref.inline else {kept.ref.data: kept}

    @rule(name=names, process=processes, fingerprint=st.sampled_from(FINGERPRINTS), later=st.integers(0, 3))
    def remember(self, name: str, process: int, fingerprint: bytes, later: int) -> None:
        at = AT + later + (0.5 if name == "a" else 0.0)  # no two at once: which of them is newer is not said
        entry = CacheEntry(fingerprint, at, f"{name}@{self.steps}", value(10, self.steps).ref)
        self.run(self.stores[process].remember(ExecutionId(name), entry))
        if name in self.model:
            before = self.model[name].cache.get(fingerprint, entry)
            self.model[name].cache[fingerprint] = entry if entry.at >= before.at else before

    @precondition(somebody_owns)
    @rule(data=st.data(), event=events)
    def append_one(self, data: st.DataObject, event: Event) -> None:
        self.append(data, [event], [], None, durable=False)

    @precondition(somebody_owns)
    @rule(data=st.data(), off=st.sampled_from([-2, -1, 1, 2]), kept=kept_values)
    def append_at_the_wrong_seq(self, data: st.DataObject, off: int, kept: EncodedValue) -> None:
        _, model, process, lease = self.owned(data)
        expected = max(0, len(model.facts) + off)
        with pytest.raises(JournalConflict):
            self.run(self.stores[process].append(lease, [claimed()], [kept], expected_seq=Seq(expected), completed=0))

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), event=events, end=st.booleans())
    def append_by_a_lease_that_ended(self, data: st.DataObject, event: Event, end: bool) -> None:
        process, lease = data.draw(st.sampled_from(self.ended[-4:]))
        model = self.model.get(lease.execution_id)
        expected = len(model.facts) if model else 1
        with pytest.raises(LeaseLost):
            self.run(
                self.stores[process].append(
                    lease, [event, *([finished()] if end else [])], [], expected_seq=Seq(expected), completed=0
                )
            )

    @precondition(somebody_owns)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        _, model, process, lease = self.owned(data)
        self.run(self.stores[process].release(lease))
        self.end(model)
        self.given_up(process, lease)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def release_of_a_lease_that_ended(self, data: st.DataObject) -> None:
        process, lease = data.draw(st.sampled_from(self.ended[-4:]))
        self.run(self.stores[process].release(lease))
        self.given_up(process, lease)

    @rule(name=names, process=processes, steal=st.booleans())
    def acquire(self, name: str, process: int, steal: bool) -> None:
        model = self.model.get(name)
        act = self.stores[process].acquire(ExecutionId(name), f"process {process}", steal=steal)
        if model is None:
            with pytest.raises(UnknownExecution):
                self.run(act)
            return
        if not steal and self.is_kept(name, model, process):
            with pytest.raises(ExecutionOwned):
                self.run(act)
            return
        lease = self.run(act)
        assert lease.epoch == model.epoch + 1
        self.end(model)
        model.epoch += 1
        model.owner = (process, lease)
        model.cancel = None
        model.crashed = False
        self.granted(name, process, lease)

    def granted(self, name: str, process: int, lease: Lease) -> None:
        """Note, in stores with locks, who holds one."""

    def given_up(self, process: int, lease: Lease) -> None:
        """Note that a lease was released, in time or late."""

    def owner_lives(self, name: str, model: Model) -> bool:
        """Tell whether the owner counts as alive."""
        del name
        return model.owner is not None and model.owner[1].deadline > self.clock.monotonic()

    def is_kept(self, name: str, model: Model, process: int) -> bool:
        """Tell whether ``process`` may not take the execution (-1: remove it) without stealing."""
        del process
        return self.owner_lives(name, model)

    @precondition(lambda self: self.steps >= STEPS_BETWEEN_RESTARTS)
    @rule(process=processes, crash=st.booleans())
    def restart(self, process: int, crash: bool) -> None:
        self.steps = 0
        if crash:
            self.crash(self.stores[process])
        else:
            self.run(self.stores[process].close())
            self.run(self.stores[process].close())
        self.stores[process] = self.open()
        self.forget(process)

    def forget(self, process: int) -> None:
        """A new process knows no leases; those of the old one can never be presented again."""
        self.ended = [(owner, lease) for owner, lease in self.ended if owner != process]
        for model in self.model.values():
            if model.owner is not None and model.owner[0] == process:
                model.owner = None
                model.crashed = True

    @precondition(somebody_owns)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        _, _, process, lease = self.owned(data)
        self.stores[process].renew(lease)
        assert lease.deadline == self.clock.monotonic() + 30

    @rule(name=names, process=processes, by=st.sampled_from(["alice", "bob"]))
    def request_cancel(self, name: str, process: int, by: str) -> None:
        act = self.stores[process].request_cancel(ExecutionId(name), by)
        if name in self.model:
            self.run(act)
            self.model[name].cancel = by
        else:
            with pytest.raises(UnknownExecution):
                self.run(act)

    @rule(name=names, process=processes, seq=st.integers(1, 5))
    def hide(self, name: str, process: int, seq: int) -> None:
        act = self.stores[process].hide_checkpoint(ExecutionId(name), Seq(seq))
        if name in self.model:
            self.run(act)
            self.model[name].hidden.add(seq)
        else:
            with pytest.raises(UnknownExecution):
                self.run(act)

    @rule(name=names, process=processes)
    def remove(self, name: str, process: int) -> None:
        model = self.model.get(name)
        act = self.stores[process].remove([ExecutionId(name)])
        if model is not None and self.is_kept(name, model, -1):
            with pytest.raises(ExecutionOwned):
                self.run(act)
            return
        self.run(act)
        if model is not None:
            self.end(model)
            del self.model[name]

    @rule(seconds=st.sampled_from([1, 10, 29, 31]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # -- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def replay_equals_the_model(self) -> None:
        self.steps += 1
        for number, (name, model) in enumerate(self.model.items()):
            store = self.stores[number % PROCESSES]
            seq, found = 0, self.run(commits(store, name))
            for commit in found:
                assert commit.first == seq + 1
                seq += len(commit.events)
            assert [commit.events for commit in found] == model.journal
            assert [commit.completed for commit in found] == model.counts
            assert self.run(commits(store, name, newest_first=True)) == found[::-1]
            assert self.run(store.hidden(ExecutionId(name))) == model.hidden

    @invariant()
    def lists_equal_the_model(self) -> None:
        found = {one.execution_id: one for one in self.run(self.stores[0].summaries())}
        assert set(found) == set(self.model)
        for name, model in self.model.items():
            summary = found[ExecutionId(name)]
            assert (summary.seq, summary.completed) == (len(model.facts), model.counts[-1])
            assert summary.status == status_after(model.facts)
            assert summary.pipeline_id == model.pipeline_id
            assert summary == self.run(self.stores[1].summary(ExecutionId(name)))
            if model.owner is not None:
                process, lease = model.owner
                alive = self.owner_lives(name, model)
                assert summary.holder == (f"process {process}", model.epoch, alive)
                assert self.stores[process].requests(lease) == (
                    None if model.cancel is None else Request("cancel", model.cancel)
                )
            elif not model.crashed:
                assert summary.holder is None
        ordered = sorted(self.model, key=lambda name: self.model[name].facts[0].at, reverse=True)
        assert list(found) == ordered

    @invariant()
    def values_equal_the_model(self) -> None:
        wanted = {digest: one for model in self.model.values() for digest, one in model.values.items()}
        for one in wanted.values():
            assert self.run(self.stores[1].get(one.ref)) == one.payload
        if value(3000).ref.data not in wanted:
            with pytest.raises(StoreDamaged):
                self.run(self.stores[1].get(value(3000).ref))

    @invariant()
    def the_cache_equals_the_model(self) -> None:
        for fingerprint in FINGERPRINTS:
            entries = [model.cache[fingerprint] for model in self.model.values() if fingerprint in model.cache]
            newest = max(entries, key=lambda entry: entry.at, default=None)
            assert self.run(self.stores[1].recall(fingerprint)) == newest

    def teardown(self) -> None:
        assert self.run(self.stores[0].check()) == []
        for store in self.stores:
            self.run(store.close())


class DeadlineMachine(StoreMachine):
    """For stores in which the deadline alone tells that an owner is gone."""

    def prepare(self) -> None:
        self.left: dict[str, float] = {}

    def crash(self, store: Any) -> None:
        """Drop it: what it owned stays owned until its deadline."""
        for name, model in self.model.items():
            if model.owner is not None and self.stores[model.owner[0]] is store:
                self.left[f"{name} {model.epoch} {model.facts[0].at}"] = model.owner[1].deadline

    def is_kept(self, name: str, model: Model, process: int) -> bool:
        left = self.left.get(f"{name} {model.epoch} {model.facts[0].at}", 0.0)
        orphaned = model.owner is None and left > self.clock.monotonic()
        return orphaned or super().is_kept(name, model, process)


class MemoryMachine(DeadlineMachine):
    def prepare(self) -> None:
        super().prepare()
        self.first = MemoryStore(clock=self.clock, chance=self.chance)

    def open(self) -> MemoryStore:
        return self.first.reopened()


class RedisMachine(DeadlineMachine):
    """A store on a server of this process's; its leases stand still between two steps, as the manual clock does."""

    url = ""

    def prepare(self) -> None:
        super().prepare()
        self.runner = asyncio.Runner()
        self.prefix = f"machine-{secrets.token_hex(8)}"
        self.client = redis.Redis.from_url(self.url)
        self.seen = time.monotonic()
        self.leases: dict[bytes, Lease] = {}

    def open(self) -> RedisStore:
        return open_redis(f"{self.url}?prefix={self.prefix}", self.clock, self.chance)

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(act)

    def crash(self, store: RedisStore) -> None:
        super().crash(store)
        store._held.clear()  # so that closing, which only ends its connections, gives nothing back
        self.runner.run(store.close())

    def granted(self, name: str, process: int, lease: Lease) -> None:
        del name, process
        self.leases[lease.token.encode()] = lease

    @rule(seconds=st.sampled_from([1, 10, 29, 31]))
    def wait(self, seconds: int) -> None:
        super().wait(seconds)
        self.set_leases()

    @invariant()
    def no_time_passes_by_itself(self) -> None:
        if time.monotonic() - self.seen > STANDSTILL_SECONDS:
            self.set_leases()

    def set_leases(self) -> None:
        """Let the server's leases have left what they have by the manual clock; what was given up stays so."""
        self.seen, now = time.monotonic(), self.clock.monotonic()
        set_leases(self.client, self.prefix, {token: lease.deadline - now for token, lease in self.leases.items()})

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.runner.close()
            self.client.close()


class SqliteMachine(StoreMachine):
    def prepare(self) -> None:
        base = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=base if base.is_dir() else None, prefix="orchestrator-test-"))
        self.locks: dict[str, tuple[int, str]] = {}
        self.left: dict[str, float] = {}

    def open(self) -> SqliteStore:
        return SqliteStore(self.folder / "store.db", clock=self.clock, chance=self.chance, durable=False)

    def crash(self, store: SqliteStore) -> None:
        """Do what the kernel does at a process's death: its locks end, its files stay as they are.

        The connections are not closed by SQLite's own means, which would tidy up; they are only kept from running.
        """
        for held in store._held.values():
            if held.lock is not None:
                os.close(held.lock)
        store._held.clear()
        abandoned.append((store._db, store._keeper_db))

    def granted(self, name: str, process: int, lease: Lease) -> None:
        """A lock goes with the lease, unless another process has not let go of it: then the lease has none."""
        if self.locks.get(name, (process, ""))[0] == process:
            self.locks[name] = (process, lease.token)

    def given_up(self, process: int, lease: Lease) -> None:
        if self.locks.get(lease.execution_id) == (process, lease.token):
            del self.locks[lease.execution_id]

    def forget(self, process: int) -> None:
        """A thief that never had the lock leaves its lease behind: nobody can tell that it is gone."""
        for name, model in self.model.items():
            if model.owner is not None and model.owner[0] == process:
                lease = model.owner[1]
                if self.locks.get(name) != (process, lease.token):
                    self.left[f"{name} {model.epoch} {model.facts[0].at}"] = lease.deadline
        super().forget(process)
        self.locks = {name: lock for name, lock in self.locks.items() if lock[0] != process}

    def owner_lives(self, name: str, model: Model) -> bool:
        """The lock speaks before the lease does: its holder is alive, whatever the time."""
        if model.owner is None:
            return False
        process, lease = model.owner
        return self.locks.get(name) == (process, lease.token) or super().owner_lives(name, model)

    def is_kept(self, name: str, model: Model, process: int) -> bool:
        """Besides: one who lost an execution keeps others off until it lets go."""
        left = self.left.get(f"{name} {model.epoch} {model.facts[0].at}", 0.0)
        orphaned = model.owner is None and left > self.clock.monotonic()
        kept_off = name in self.locks and self.locks[name][0] != process
        return orphaned or kept_off or self.owner_lives(name, model)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            for pair in abandoned:
                for db in pair:
                    if db is not None:
                        db.close()
            abandoned.clear()
            shutil.rmtree(self.folder, ignore_errors=True)


class PostgresMachine(StoreMachine):
    """Leases go by the server's clock: it runs on by itself, and ``wait`` moves what stands in the table."""

    url = ""

    def prepare(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.target = parse_target(self.url, durable=True)
        self.left: dict[str, float] = {}
        self.db = psycopg.connect(self.target.conninfo, autocommit=True)
        if self.db.execute("SELECT to_regclass(%s)", (f"{self.target.schema}.meta",)).fetchone() != (None,):
            for table in ("refs", "vals", "journal", "hidden", "queues", "removed", "executions"):
                self.db.execute(f"DELETE FROM {self.target.schema}.{table}".encode())

    def open(self) -> PostgresStore:
        return PostgresStore(self.target, clock=self.clock, chance=self.chance)

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(act)

    def crash(self, store: PostgresStore) -> None:
        """Cut its connections, as the kernel does; what it owned stays owned until its deadline."""
        for name, model in self.model.items():
            if model.owner is not None and self.stores[model.owner[0]] is store:
                self.left[f"{name} {model.epoch} {model.facts[0].at}"] = model.owner[1].deadline
        store._owned.clear()
        self.run(store.close())

    def is_kept(self, name: str, model: Model, process: int) -> bool:
        left = self.left.get(f"{name} {model.epoch} {model.facts[0].at}", 0.0)
        orphaned = model.owner is None and left > self.clock.monotonic()
        return orphaned or super().is_kept(name, model, process)

    @rule(seconds=st.sampled_from([1, 10, 29, 31]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        shift = "SET lease_until = lease_until - make_interval(secs => %s)"
        self.db.execute(f"UPDATE {self.target.schema}.executions {shift}".encode(), (seconds,))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.db.close()
            self.loop.close()


abandoned: list[tuple[Any, Any]] = []


def _settings(examples: int, steps: int = 30) -> settings:
    """The profile ``long`` decides on the number of examples itself."""
    chosen = settings()
    return settings(
        max_examples=max(examples, chosen.max_examples if chosen.max_examples > 1_000 else 0),
        stateful_step_count=steps,
        deadline=None,
    )


def _machine(machine: type[StoreMachine], examples: int) -> Any:
    """Return the test case of a machine."""
    case: Any = machine.TestCase
    case.settings = _settings(examples)
    return case


def test_redis_machine(redis_url: str) -> None:
    machine = type("Machine", (RedisMachine,), {"url": redis_url.partition("?")[0]})
    run_state_machine_as_test(machine, settings=_settings(8))


TestMemoryMachine = _machine(MemoryMachine, 60)
TestSqliteMachine = _machine(SqliteMachine, 50)


def test_postgres_machine(postgres_emptied_url: str) -> None:
    PostgresMachine.url = postgres_emptied_url
    run_state_machine_as_test(PostgresMachine, settings=_settings(4, steps=12))
