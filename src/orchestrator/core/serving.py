"""A server: takes what waits in the store's queues, runs many executions at once, adopts what others left behind.

It decides nothing about who owns what: the store's ``take`` does. What it took goes the road of every resume.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.core.ledger import describe_owner
from orchestrator.core.parking import park, why_poison
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.plan import PlanRequest
from orchestrator.errors import (
    LeaseLost,
    ResumeError,
    StoreBroken,
    StoreDamaged,
    StoreError,
    StoreIncompatible,
    StoreUnavailable,
    UsageError,
)
from orchestrator.ports.store import Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.engine import Engine
    from orchestrator.core.live import LiveExecutions
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.errors import OrchestratorError
    from orchestrator.ports.store import Lease

_log = logging.getLogger("orchestrator.server")

TAKE_AT_ONCE = 25
"""So many executions are taken with one call: what waits is to be shared among servers."""
LONGEST_BACKOFF_SECONDS = 15.0
NAME = "the server"


@dataclass(frozen=True, slots=True)
class Service:
    """What a server does. ``queues`` it takes from; ``runs``: it adopts orphans of ``orchestrator run``, too.

    ``max_executions`` is how many it runs at once. It looks for work every ``poll_seconds``, give or take a half.
    ``until_idle``: it ends once there is nothing to take and nothing runs.
    """

    queues: tuple[str, ...] = ("default",)
    max_executions: int = 100
    runs: bool = False
    until_idle: bool = False
    poll_seconds: float = 1.0


class Notice(NamedTuple):
    """What a server says.

    ``kind``: ``taken``, ``ended`` (``text`` is the status), ``paused``, ``lost`` or ``failed`` (with the reason), each
    of an execution; ``trouble`` and ``recovered`` of the store. Of schedules: ``scheduled``, ``waits``, ``skipped`` and
    ``cancelling`` of an execution; ``schedule`` (is served), ``missed`` (times that are not run) and ``reread`` (of
    a definition).
    """

    kind: str
    execution_id: str
    text: str


class Chores(Protocol):
    """What a server does besides, before it looks for work."""

    async def look(self) -> bool:
        """Do what is to be done now; True if there may be more to take for it."""

    def wait_seconds(self) -> float:
        """Return how long there is nothing to do, as far as is known."""


class Server:
    """Serves one store from this process until it is stopped.

    ``tell`` hears what it does. ``logged`` opens, for an execution's id, what is to be open while that one runs.
    ``chores`` are done whenever it looks for work.
    """

    def __init__(
        self,
        adapters: Adapters,
        live: LiveExecutions,
        service: Service,
        *,
        tell: Callable[[Notice], None],
        logged: Callable[[str], AbstractContextManager[Any]] = contextlib.nullcontext,
        chores: Chores | None = None,
    ) -> None:
        self._adapters = adapters
        self._live = live
        self._service = service
        self._tell = tell
        self._logged = logged
        self._chores = chores
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._halt = asyncio.Event()
        self._stopped_by: int | None = None
        self._failures = 0
        self._setbacks = 0

    @property
    def running(self) -> int:
        """How many executions it has in hand."""
        return len(self._tasks)

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def stop(self, number: int) -> None:
        """Take nothing more, and stop gracefully what runs, as on this signal; ``run`` then returns."""
        self._stopped_by = number
        self._halt.set()
        for execution_id in self._tasks:
            engine = self._live.engine(execution_id)
            if engine is not None:
                engine.stop(number)
        self.wake()

    async def run(self) -> None:
        """Serve until stopped (or idle); what was in hand then is given back, for others to go on with.

        An execution that is lost or fails ends by itself. A store that is away is waited for. Raises StoreBroken,
        StoreDamaged and StoreIncompatible where this process cannot go on with the store at all.
        """
        try:
            while self._stopped_by is None:
                made = await self._do_chores()
                idle = made is not None and await self._take() and not made
                if idle and self._service.until_idle and not self._tasks:
                    break
                await self._rest()
            while self._tasks:
                await asyncio.wait(list(self._tasks.values()))
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()  # each records that it was stopped, and gives its execution back
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest(self) -> None:
        """Wait for the next look: a poll's time, or until something here ends or is submitted."""
        seconds = self._service.poll_seconds
        if failures := self._failures + self._setbacks:
            seconds = min(LONGEST_BACKOFF_SECONDS, seconds * 2.0 ** min(failures, 10))
        elif self._chores is not None:
            seconds = min(seconds, self._chores.wait_seconds())
        # A store that can be read but not written ends all that runs, again and again: no reason to look.
        woken = self._halt if failures else self._wake
        with contextlib.suppress(TimeoutError):
            # Give or take a half: many servers must not come all at once.
            async with asyncio.timeout(seconds * (0.5 + self._adapters.chance.random())):
                await woken.wait()
        self._wake.clear()

    async def _do_chores(self) -> bool | None:
        """Do what is to be done besides; True if there may be more to take for it, None while the store is away."""
        if self._chores is None:
            return False
        try:
            return await self._chores.look()
        except StoreBroken:
            raise
        except StoreUnavailable as error:
            self._bear(error)
            return None

    async def _take(self) -> bool:
        """Take what there is room for; True if nothing was to be had."""
        while self._stopped_by is None:
            room = min(self._service.max_executions - len(self._tasks), TAKE_AT_ONCE)
            if room <= 0:
                return False
            try:
                owner = describe_owner(self._adapters.clock.now())
                leases = await self._adapters.store.take(owner, self._service.queues, room, runs=self._service.runs)
            except StoreBroken:
                raise
            except StoreUnavailable as error:
                self._bear(error)
                return False
            if self._failures:
                self._failures = 0
                self._tell(Notice("recovered", "", "the store answers again"))
            for lease in leases:
                self._begin(lease)
            if len(leases) < room:
                return not leases
            await asyncio.sleep(0)
        return False

    def _bear(self, error: StoreError) -> None:
        self._failures += 1
        _log.debug("nothing taken: %s", error)
        if self._failures == 1:
            self._tell(Notice("trouble", "", f"{error}; trying again until it answers"))

    # -- an execution --------------------------------------------------------------------------------------------

    def _begin(self, lease: Lease) -> None:
        name = lease.execution_id
        before = self._tasks.get(name)  # ours until it was lost, and not ended yet
        task = asyncio.get_running_loop().create_task(self._carry(lease, before), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._forget(name, done))

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        self.wake()

    async def _carry(self, lease: Lease, before: asyncio.Task[None] | None) -> None:
        """See an execution through, whatever comes."""
        name = lease.execution_id
        self._tell(Notice("taken", name, f"owner {lease.epoch}"))
        try:
            if before is not None:
                await asyncio.wait([before])
            with self._logged(name):
                notice = await self._go_on(lease)
        except LeaseLost as error:
            notice = Notice("lost", name, f"{error}; it goes on there")
        except (ResumeError, UsageError, StoreDamaged, StoreIncompatible) as error:
            notice = await self._lay_aside(name, error)
        except StoreError as error:
            self._setbacks += 1
            notice = Notice("lost", name, f"{error}; it goes on once the store answers")
        except Exception as error:  # noqa: BLE001 - one execution's fault must not end the others
            _log.exception("execution %s ended by a fault", name)
            self._setbacks += 1
            notice = Notice("failed", name, f"{type(error).__name__}: {error}")
        else:
            self._setbacks = 0
        self._tell(notice)

    async def _lay_aside(self, name: ExecutionId, error: OrchestratorError) -> Notice:
        """Pause what is damaged, in another version's format, not to be resumed, or lacks a secret.

        So it is for every server, and a secret most likely too: who has provided it lets the execution go on.
        """
        try:
            await self._adapters.store.request_pause(name, f"{NAME}: {error}")
        except StoreError as another:
            _log.warning("execution %s not paused: %s", name, another)
        return Notice("paused", name, str(error))

    async def _go_on(self, lease: Lease) -> Notice:
        name, store = lease.execution_id, self._adapters.store
        if self._is_stopping():
            await store.release(lease)
            return Notice("ended", name, ExecutionStatus.STOPPED.value)
        reason = await why_poison(store, lease)
        if reason is not None:
            await park(self._adapters, self._live, lease, NAME, reason)
            return Notice("paused", name, reason)
        request = PlanRequest(by=NAME)
        state = await self._live.carry_on(lease, request, admitted=self._admitted, letting_go=True)
        if state.status is ExecutionStatus.STOPPED and self._is_stopping() and self._service.runs:
            await self._pass_on(lease)
        return Notice("ended", name, state.status.value)

    def _is_stopping(self) -> bool:
        return self._stopped_by is not None

    def _admitted(self, engine: Engine) -> None:
        if self._stopped_by is not None:
            engine.stop(self._stopped_by)

    async def _pass_on(self, lease: Lease) -> None:
        """Give an adopted run that this server stopped to those who go on: nobody else would know that it may."""
        store = self._adapters.store
        summary = await store.summary(lease.execution_id)
        if summary.place is None and summary.paused_by is None:
            await store.enqueue(lease.execution_id, Place(self._service.queues[0]))
