"""The world: simulated processes on one clock, and the choice of what happens next."""

# ruff: noqa: SLF001 - which loop runs is asyncio's secret, and several take turns here within one another

from __future__ import annotations

import asyncio
import heapq
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from chaos.simulation.executor import SimulatedExecutor
from chaos.simulation.loop import simulated_loop
from chaos.simulation.store import DisturbedStore
from orchestrator.core.adapters import Adapters
from orchestrator.core.keeper import POLL_SECONDS, LeaseKeeper
from orchestrator.core.live import LiveExecutions
from orchestrator.ports.tools import Identity
from orchestrator.schemas.values import ResultSchemas
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.tools.looking import ProjectFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from chaos.simulation.facts import Call
    from chaos.simulation.judge import Judge
    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.events import Event
    from orchestrator.domain.plan import Plan, PlanRequest
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.renderer import Renderer
    from orchestrator.ports.store import Store
    from orchestrator.ports.tools import Problem, ToolCall

LEASE_SECONDS = 30.0
MAX_STEPS = 60_000
"""No execution of the size that is simulated here takes so many callbacks: one that does goes round in circles."""


class ProcessDied(BaseException):
    """The simulated process was killed inside this call: nothing it does from here on reaches the world."""


class Stuck(Exception):
    """Nothing more can happen, or far too much has."""


class ProcessClock:
    """A process's view of the time: the host's monotonic clock, and a wall clock that may be wrong."""

    def __init__(self, world: ManualClock) -> None:
        self._world = world
        self.skew = 0.0

    def now(self) -> float:
        """Return the wall clock, as wrong as it is."""
        return self._world.now() + self.skew

    def monotonic(self) -> float:
        """Return the host's time since it started."""
        return self._world.monotonic()


class SimulatedTools:
    """A process's registry: its calls mean what they did when the process began, whatever is installed later.

    Each upgrade of the host changes the code or the version, in turns.
    """

    def __init__(self, upgrades: int) -> None:
        code = {"simulated:step": f"{upgrades // 2 + 1:032x}"} if upgrades else {}
        self._identity = Identity(str(1 + upgrades // 2), code)

    @property
    def call(self) -> Call:
        """What every call means, as the judge tells it."""
        return self._identity.version, tuple(sorted(self._identity.code.items()))

    def identity(self, tool: str, action: str | None) -> Identity:
        """See ports.tools.Tools."""
        del tool, action
        return self._identity

    def resolve(self, tool: str, action: str | None) -> ToolCall:
        """See ports.tools.Tools; nothing is called here."""
        raise NotImplementedError(tool, action)

    def check(self, tool: str, action: str | None, parameters: object, is_template: object) -> list[Problem]:
        """See ports.tools.Tools."""
        del tool, action, parameters, is_template
        return []


class SimulatedLive(LiveExecutions):
    """Executions of one process: the judge hears each plan before anything is recorded of it."""

    def __init__(self, adapters: Adapters, judge: Judge) -> None:
        super().__init__(adapters)
        self._judge = judge

    async def _plan_and_record(
        self,
        recorder: Recorder,
        request: PlanRequest,
        planned: Callable[[Plan], None] | None,
        *,
        runs: bool = False,
    ) -> Plan | None:
        lease = recorder.lease

        def told(plan: Plan) -> None:
            if planned is not None:
                planned(plan)
            self._judge.planned(lease.execution_id, lease.epoch, plan)

        return await super()._plan_and_record(recorder, request, told, runs=runs)


class SimulatedKeeper(LeaseKeeper):
    """The lease keeper, its rounds made by the world instead of by a thread."""

    def _begin(self) -> None:
        """Start nothing."""


class Teller:
    """The process's terminal: whatever reaches it was acknowledged."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        """See Listener."""
        self._judge.told(event, execution_id, seq)

    def progress(self, execution_id: str, task: str, done: float | None, total: float | None, message: str) -> None:
        """See Listener."""


class Process:
    """One simulated process: its own loop, clock, store handle, executor, keeper and engines."""

    def __init__(self, world: World, number: int, store: Store, name: str) -> None:
        self.world = world
        self.number = number
        self.name = name
        self.clock = ProcessClock(world.clock)
        self.loop = simulated_loop(self.clock)
        self.store = DisturbedStore(self, store)
        self.executor = SimulatedExecutor(self)
        self.tools = SimulatedTools(world.upgrades)
        self.keeper = SimulatedKeeper(self.store, self.clock, LEASE_SECONDS)
        self.adapters = Adapters(
            store=self.store,
            executor=self.executor,
            renderer=world.renderer,
            codec=world.codec,
            tools=self.tools,
            files=ProjectFiles(),
            schemas=ResultSchemas(),
            clock=self.clock,
            chance=world.chance,
            keeper=self.keeper,
            project=world.project,
            capacity=world.random.choice((1, 2, 3, 8)),
            grace_seconds=world.random.choice((0.0, 5.0, 40.0)),
            listeners=(Teller(world.judge),),
        )
        self.live = SimulatedLive(self.adapters, world.judge)
        self.dead = False
        self.inside = 0  # how many of its calls are in progress below us on the stack: it cannot be stepped
        self.frozen = False
        self.tending = False
        self.overslept = False
        self.robbed_by_force = False
        self.robbed_at: float | None = None
        self.robbed_of: set[str] = set()
        self.serves = False
        self.only_reads = ""
        self.tend_at = self.clock.monotonic() + POLL_SECONDS * world.random.random()
        self.main: asyncio.Task[Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether its program has ended, one way or another."""
        return self.dead or (self.main is not None and self.main.done())

    @property
    def stood_still(self) -> bool:
        """Whether it was stopped beyond its lease or robbed before its end: what it had begun may still run.

        A process that is in the middle of a call cannot end anything either, even if its lease keeper has given up.
        """
        return self.overslept or self.frozen or self.robbed_by_force or self.inside > 0

    def begin(self, program: Coroutine[Any, Any, Any]) -> None:
        """Let the process run this program."""
        self.main = self.loop.create_task(program)

    def check_alive(self) -> None:
        """Raise ProcessDied once it is dead: its ports lead nowhere."""
        if self.dead:
            raise ProcessDied

    def die(self) -> None:
        """Be killed: nothing it began goes on, nothing it does from here on counts."""
        if self.dead:
            return
        self.dead = True
        self.executor.die()
        lock_files = self.store.url.startswith("sqlite")  # the host frees those, and nobody waits for the lease
        self.store.die(at_once=self.world.random.random() < 0.7 or lock_files)
        self.world.log(f"{self.name} dies")

    def bury(self) -> None:
        """Unwind what is left of its program, with every port closed."""
        for task in self.loop.tasks:
            task.cancel()
        for _ in range(300):
            if not self.loop.ready:
                break
            self.loop.step()


class World:
    """All of it. ``random`` decides everything; ``calm`` ends the dangers, for everything to come to its end.

    ``on_stop`` is told for how many seconds a process is going to stand still.
    """

    def __init__(
        self,
        seed: int,
        judge: Judge,
        codec: Codec,
        renderer: Renderer,
        project: Path,
        open_store: Callable[[Any, SeededChance], Store],
    ) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.chance = SeededChance(seed)
        self.judge = judge
        self.codec = codec
        self.renderer = renderer
        self.upgrades = 0
        self.project = project
        self._open_store = open_store
        self.on_stop: Callable[[float], None] = lambda _seconds: None
        self.processes: list[Process] = []
        self.dangers = 0
        self.quick = False
        self.steps = 0
        self.story: list[str] = []
        self.seen: dict[str, int] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    # -- telling -------------------------------------------------------------------------------------------------

    def log(self, text: str) -> None:
        """Add a line to the story of this seed."""
        self.story.append(f"{self.clock.monotonic() - 1000.0:9.3f}  {text}")

    # -- making --------------------------------------------------------------------------------------------------

    def spawn(self, name: str) -> Process:
        """Start a process."""
        self._number += 1
        process = Process(self, self._number, self._open_store(self.clock, self.chance), f"{name}#{self._number}")
        self.processes.append(process)
        return process

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something at a later time."""
        self._number += 1
        heapq.heappush(self._events, (self.clock.monotonic() + seconds, self._number, action))

    # -- dangers -------------------------------------------------------------------------------------------------

    def danger(self, kind: str, likely: float) -> bool:
        """Tell whether this goes wrong now; each seed has a budget of dangers."""
        if self.dangers <= 0 or self.random.random() >= likely:
            return False
        self.dangers -= 1
        self.seen[kind] = self.seen.get(kind, 0) + 1
        return True

    def calm(self) -> None:
        """Let nothing more go wrong, and attempts be quick: else some would run into their timeouts for ever."""
        self.dangers = 0
        self.quick = True

    def freeze(self, process: Process, seconds: float, *, keeper_alive: bool) -> None:
        """Let the others go on while this process stands still inside a call.

        ``keeper_alive``: only its event loop is blocked, its other threads run.
        """
        until = self.clock.monotonic() + seconds
        self.on_stop(seconds)
        process.inside += 1
        before = process.frozen
        process.frozen = process.frozen or not keeper_alive
        outer = asyncio._get_running_loop()
        task = _swap_task(outer, None)
        try:
            while self.clock.monotonic() < until and self.step(until):
                self.judge.check()
        finally:
            _swap_task(outer, task)
            process.inside -= 1
            process.frozen = before
        self.judge.woke(process)
        process.check_alive()

    # -- stepping ------------------------------------------------------------------------------------------------

    def step(self, until: float | None = None) -> bool:
        """Let one thing happen; False if nothing can (before ``until``)."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Stuck(f"{MAX_STEPS} callbacks, and no end")
        choices = self._choices()
        if not choices:
            return self._advance(until)
        action = choices[0] if len(choices) == 1 else self.random.choice(choices)
        action()
        if not any(each.inside for each in self.processes):
            self._bury()
        return True

    def _choices(self) -> list[Callable[[], None]]:
        """Return everything that can happen now."""
        now = self.clock.monotonic()
        choices: list[Callable[[], None]] = []
        for process in self.processes:
            if process.dead or process.frozen:
                continue
            if not process.inside and process.loop.ready:
                choices.append(process.loop.step)
            if process.tend_at <= now:
                choices.append(partial(self._tend, process))
        if self._events and self._events[0][0] <= now:
            choices.append(self._happen)
        return choices

    def _happen(self) -> None:
        heapq.heappop(self._events)[2]()

    def _tend(self, process: Process) -> None:
        process.tend_at = self.clock.monotonic() + POLL_SECONDS
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        process.tending = True
        try:
            process.keeper.tend()
        except ProcessDied:
            pass
        finally:
            process.tending = False
            asyncio._set_running_loop(outer)

    def _bury(self) -> None:
        dead = [process for process in self.processes if process.dead]
        for process in dead:
            self.processes.remove(process)
            process.bury()

    def _advance(self, until: float | None) -> bool:
        times = [self._events[0][0]] if self._events else []
        for process in self.processes:
            if process.dead or process.frozen:
                continue
            times.append(process.tend_at)
            due = process.loop.next_time()
            if due is not None and not process.inside:
                times.append(due)
        if until is not None:
            times.append(until)
        if not times:
            return False
        self.clock.advance(max(0.0, min(times) - self.clock.monotonic()))
        return True


def _swap_task(loop: asyncio.AbstractEventLoop | None, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
    """Put the running task aside while another process's loop is stepped: from Python 3.12 on asyncio minds."""
    swap: Callable[..., asyncio.Task[Any] | None] | None = vars(asyncio.tasks).get("_swap_current_task")
    return None if loop is None or swap is None else swap(loop, task)
