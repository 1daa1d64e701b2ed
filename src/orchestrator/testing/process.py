"""A process within the test's own: its time is the test's, and it may die at a named point.

From then on nothing of it reaches the store, as of a process that was killed; what it had committed is there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import UserDict
from collections.abc import Callable
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from orchestrator.compiler.templates import Templates
from orchestrator.core.keeper import LeaseKeeper
from orchestrator.crashpoints import POINTS
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import UsageError
from orchestrator.orchestrator import Orchestrator
from orchestrator.secrets.lookup import SecretLookup
from orchestrator.settings import SECRET_PREFIX, load_settings
from orchestrator.state.memory import MemoryStore
from orchestrator.state.valuecodec import ValueCodec

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.executor import Executor
    from orchestrator.ports.store import Store
    from orchestrator.ports.tools import Tools

T = TypeVar("T")
Runner = Callable[["Coroutine[Any, Any, T]"], T]
"""What runs a coroutine to its end, as ``asyncio.run`` does."""


class Dead(BaseException):
    """This process is dead; what still runs of it has no effect."""


class Death:
    """When a process dies: the N-th time that it passes a point, ``NAME`` or ``NAME:N``; never, if ``at`` is None."""

    def __init__(self, at: str | None) -> None:
        self.at = at
        self.dead = False
        self._name, _, count = (at or "").partition(":")
        if at is not None and (self._name not in POINTS or (count and not count.isdecimal())):
            hint = did_you_mean(self._name, POINTS) or f"there are {', '.join(POINTS)}"
            raise UsageError(f"crash={at!r}: no point of that name ({hint}); a number may follow it: after_effect:2")
        self._left = int(count or 1)
        self.passed = 0
        self._mutex = threading.Lock()

    def watch(self, name: str) -> None:
        """Note that a point is passed; raise Dead if it is the one, or if the process is dead already."""
        with self._mutex:
            if name == self._name and not self.dead:
                self.passed += 1
                self._left -= 1
                self.dead = self._left == 0
        self.check()

    def check(self) -> None:
        """Raise Dead if the process is dead."""
        if self.dead:
            raise Dead

    def check_happened(self) -> None:
        """Raise UsageError if the process was to die and did not."""
        if self.at is not None and not self.dead:
            raise UsageError(
                f"crash={self.at!r}: the run ended before that; it passed {self._name} "
                f"{self.passed} time{'' if self.passed == 1 else 's'}"
            )


class MortalStore(MemoryStore):
    """A memory store's handle of a process that may die: what it had committed is there, and nothing after it."""

    death: Death

    def of_process(self, death: Death) -> Self:
        """Return another handle onto the same data, for another process."""
        made = self.reopened()
        made.death = death
        return made

    def _check_open(self) -> None:
        self.death.check()
        super()._check_open()


def mortal_store(clock: Clock, chance: Chance) -> MortalStore:
    """Return an empty store."""
    store = MortalStore(clock=clock, chance=chance)
    store.death = Death(None)
    return store


class TestProcess(Orchestrator):
    """An Orchestrator on a test's clock, chance and store; ``wrapped`` puts fakes before its executor."""

    __test__ = False  # for pytest: the name is not that of tests

    def __init__(
        self,
        clock: Clock,
        chance: Chance,
        store: MortalStore,
        wrapped: Callable[[Executor, Tools], Executor],
        *,
        tools: Tools | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(settings=load_settings(store="memory://"), tools=tools, listeners=[_Hearing()])
        self._clock = clock
        self._chance = chance
        self._mortal = store
        self._wrapped = wrapped
        self._told = secrets or {}

    @cached_property
    def _secrets(self) -> SecretLookup:
        return SecretLookup(self._settings, Templates(), ValueCodec(), _Invented(self._told))

    def _make_store(self) -> Store:
        return self._mortal

    def _make_keeper(self, store: Store) -> LeaseKeeper:
        return _Keeper(store, self._clock, self._settings.lease)

    def _make_executor(self) -> Executor:
        return self._wrapped(super()._make_executor(), self.tools)

    @contextmanager
    def _steps_logged(self, execution_id: str) -> Iterator[None]:
        del execution_id
        yield  # what steps log is for pytest to show, not for the project's folder

    @property
    def store(self) -> Store:
        """The store."""
        return self._mortal

    async def leave(self) -> None:
        """Give back threads and processes; of a dead process nothing more is recorded."""
        if self._mortal.death.dead:
            await self._adapters.executor.close()
        else:
            await self.close()

    def tend(self) -> None:
        """Look after the leases: time has passed."""
        if self._opened and not self._mortal.death.dead:
            self._adapters.keeper.tend()


class _Invented(UserDict[str, str]):
    """An environment of secrets: those that a test tells, and made-up ones for all others, never the real ones."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a secret's value by the name of its variable."""
        del default
        name = key.removeprefix(SECRET_PREFIX)
        return self.data.get(name, f"secret-{name}-of-the-test")


class _Keeper(LeaseKeeper):
    """A keeper without a thread: the loop calls ``tend`` when its clock has moved."""

    def _begin(self) -> None:
        self._closed = False


class _Hearing:
    """A listener, so that a run passes the points around telling one."""

    def notify(self, event: object, execution_id: str, seq: int) -> None:
        """Do nothing."""

    def progress(self, execution_id: str, task: str, done: float | None, total: float | None, message: str) -> None:
        """Do nothing."""


def in_process(process: Orchestrator, main: Callable[[Orchestrator], Coroutine[Any, Any, T]], run: Runner[T]) -> T:
    """Run a process to its end by ``run``; in a thread of its own where an event loop runs already."""

    async def whole() -> T:
        try:
            return await main(process)
        finally:
            await (process.leave() if isinstance(process, TestProcess) else process.close())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(whole())
    found: list[T] = []
    failed: list[BaseException] = []

    def apart() -> None:
        try:
            found.append(run(whole()))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=apart, name="orchestrator-testing")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
