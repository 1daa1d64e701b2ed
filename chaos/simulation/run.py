"""One seed, from the first run to the end that I4 demands."""

# ruff: noqa: SLF001 - the judge looks at the rows of the store in memory themselves

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.simulation import operating
from chaos.simulation.editions import with_editions
from chaos.simulation.facts import Violation
from chaos.simulation.judge import Judge
from chaos.simulation.scenario import INCIDENTS, draw
from chaos.simulation.serving import SUBMITTED, all_done, compare, pause, serve
from chaos.simulation.store import drive
from chaos.simulation.world import LEASE_SECONDS, SimulatedTools, Stuck, World
from orchestrator.compiler.templates import Templates
from orchestrator.core.cancelling import cancel_execution
from orchestrator.core.recovery import load_state
from orchestrator.domain.events import CancelRequested
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.pipeline import OnChange
from orchestrator.domain.plan import PlanRequest
from orchestrator.errors import LeaseLost, OrchestratorError, StoreDamaged, UnknownExecution
from orchestrator.state.commits import open_commit
from orchestrator.state.memory import MemoryStore
from orchestrator.state.sqlite import SqliteStore
from orchestrator.state.valuecodec import ValueCodec

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.simulation.scenario import Scenario
    from chaos.simulation.world import Process
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Commit, Store

PATIENCE_SECONDS = 20_000.0
"""How much simulated time everything may take once nothing goes wrong any more (I6)."""
CANCEL_SECONDS = 20.0
RESUMES = 80
"""How many undisturbed resumes may be needed: each gives failing steps another round of tries."""
EDITED = 0.25
"""How likely the definitions of a seed's executions are edited while they go on."""
FORKS = 2
SQLITE_EVERY = 25
"""One seed in so many runs on a real SQLite file."""


@dataclass
class Report:
    """What a seed came to. ``violation`` is None if every invariant held."""

    seed: int
    violation: Violation | None = None
    story: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    facts: int = 0
    effects: int = 0
    processes: int = 0
    store: str = "memory"


class Simulation:
    """One seed's world, its judge, and the programs that run in it."""

    def __init__(self, seed: int, store: str, folder: Path) -> None:
        self._codec = ValueCodec()
        self._kind = store
        self._folder = folder
        self._memory: MemoryStore | None = None
        self._handles: list[Store] = []
        self.judge = Judge(self._read, self._value, lambda pipeline: self._codec.encode_pipeline(pipeline).ref.data)
        self.world = World(seed, self.judge, self._codec, Templates(), folder, self._open)
        self.judge.world = self.world
        self._eyes = self._open(self.world.clock, self.world.chance)
        self._chance = self.world.random
        edits = random.Random(f"edits {seed}")
        self._edits = edits if edits.random() < EDITED else None

    # -- the store, as processes open it and as the judge sees it ------------------------------------------------

    def _open(self, clock: Clock, chance: Chance) -> Store:
        if self._kind == "sqlite":
            store: Store = SqliteStore(
                self._folder / "store.db", clock=clock, chance=chance, lease_seconds=LEASE_SECONDS, durable=False
            )
            self._handles.append(store)
            return store
        if self._memory is None:
            self._memory = MemoryStore(clock=clock, chance=chance, lease_seconds=LEASE_SECONDS)
        return self._memory.reopened()

    def _read(self, name: str, after: int) -> list[Commit]:
        """Return the commits after a seq; of a store in memory straight from its rows."""
        if self._memory is None:
            commits: list[Commit] = []
            with suppress(UnknownExecution):
                commits = drive(_collect(self._eyes, name))
            return [commit for commit in commits if commit.first > after]
        execution = self._memory._data.executions.get(name)
        if execution is None or execution.commits[-1].last == after:
            return []
        rows = [row for row in execution.commits if row.last > after]
        return [open_commit(name, row.last, row.completed, row.record) for row in rows]

    def _value(self, ref: ValueRef) -> Any:
        try:
            return self._codec.decode(ref.data if ref.inline else drive(self._eyes.get(ref)))
        except StoreDamaged as error:
            raise Violation("I9", f"a value that is needed: {error}") from error

    # -- programs ------------------------------------------------------------------------------------------------

    async def _run(self, process: Process, scenario: Scenario) -> None:
        await self._guarded(process, process.live.run(scenario.pipeline, scenario.inputs, scenario.execution_id), "run")

    async def resume(self, process: Process, scenario: Scenario, request: PlanRequest, steal: bool) -> None:  # noqa: FBT001
        """Resume, as the command line does."""
        name = ExecutionId(scenario.execution_id)
        await self._guarded(process, process.live.resume(name, request, steal=steal), "resume")

    async def cancel(self, process: Process, scenario: Scenario, *, calm: bool = False) -> None:
        """Cancel, as an operator does; ``calm``: nothing else goes on, so somebody must mind it."""
        name = ExecutionId(scenario.execution_id)
        cancel = cancel_execution(process.adapters, process.live, name, "the operator", CANCEL_SECONDS)
        done = await self._guarded(process, cancel, "cancel")
        if done is False and calm:
            raise Violation("I12", f"nobody minded the cancel for {CANCEL_SECONDS} s")
        asked = any(isinstance(event, CancelRequested) for event in self.judge.cases[name].facts.history)
        if done and not asked:
            raise Violation("I12", "a cancel was acknowledged, and nothing of it is recorded")

    async def _look(self, process: Process, scenario: Scenario) -> None:
        """Read what lists and ``status`` show: one moment of the history, whatever goes on."""
        await self._guarded(process, self._compare_lists(process, ExecutionId(scenario.execution_id)), "look")

    async def _compare_lists(self, process: Process, name: ExecutionId) -> None:
        # Past the disturbance: between looking and comparing nobody else may get a turn.
        store = process.store.inner
        summary = await store.summary(name)
        self.judge.status_seen(name, summary.completed, summary.seq)
        state = await load_state(store, self._codec, name)
        self.judge.status_seen(name, state.done_count, state.seq)

    async def _remove(self, process: Process, scenario: Scenario) -> None:
        await self._guarded(process, process.store.remove([ExecutionId(scenario.execution_id)]), "remove")

    async def _begun(self, process: Process, program: Callable[[Process], Any], what: str) -> Any:
        """Begin a program only once the process runs: it may be killed before."""
        return await self._guarded(process, program(process), what)

    async def _guarded(self, process: Process, program: Any, what: str) -> Any:
        """Run a program as the command line does: known errors end it with a message."""
        log = self.world.log
        try:
            result = await program
        except (LeaseLost, OrchestratorError) as error:
            if isinstance(error, StoreDamaged) or "CheckpointUnreadable" in type(error).__name__:
                raise Violation("I10", f"{process.name}: {error}") from error
            log(f"{process.name}: {what} ends with {type(error).__name__}: {error}")
        else:
            status = getattr(result, "status", None)
            log(f"{process.name}: {what} ends {status.value if status is not None else result}")
            return result

    # -- what happens --------------------------------------------------------------------------------------------

    def spawn(self, name: str, program: Callable[[Process], Any]) -> Process:
        """Start a process with this program."""
        process = self.world.spawn(name)
        process.begin(program(process))
        return process

    def _incident(self, scenarios: list[Scenario]) -> None:  # noqa: C901, PLR0912 - one case an incident
        """Let somebody do something, or something happen to somebody."""
        world, chance = self.world, self._chance
        scenario = chance.choice(scenarios)
        if self.judge.cases[scenario.execution_id].removed:
            return
        alive = [process for process in world.processes if not process.ended]
        match chance.choice(INCIDENTS):
            case "kill" if alive and world.danger("kill at rest", 0.5):
                chance.choice(alive).die()
            case "freeze" if alive and world.danger("freeze", 0.5):
                self._freeze(chance.choice(alive))
            case "stop" if alive and world.danger("stop", 0.3):
                for engine in chance.choice(alive).live.engines():
                    world.log("a process is asked to stop")
                    engine.stop(15)
            case "leave" if alive and world.danger("cancelled caller", 0.2):
                process = chance.choice(alive)
                if process.main is not None and not process.inside:
                    world.log(f"{process.name}: its caller is cancelled")
                    process.main.cancel()
            case "cancel" if world.danger("cancel", 0.2):
                self.spawn("cancel", lambda process: self.cancel(process, scenario))
            case "jump" if alive and world.danger("clock jump", 0.5):
                chance.choice(alive).clock.skew += chance.choice((-86400.0, -3600.0, 3600.0, 40 * 86400.0))
            case "steal" if world.danger("steal", 0.3):
                self.spawn("thief", lambda process: self.resume(process, scenario, PlanRequest(), True))  # noqa: FBT003
            case "second" if world.danger("second resume", 0.5):
                self.spawn("rival", lambda process: self.resume(process, scenario, PlanRequest(), False))  # noqa: FBT003
            case "serve" if world.danger("a server comes", 0.5):
                self.spawn("server", lambda process: serve(process, scenario, self._guarded))
            case "pause" if world.danger("pause asked for", 0.2):
                self.spawn("pauser", lambda process: pause(process, scenario, self._guarded))
            case "look":
                self.spawn("reader", lambda process: self._look(process, scenario))
            case _:
                pass  # it does not happen this time

    def _wish(self, edits: random.Random, scenarios: list[Scenario]) -> None:
        """Let somebody want something of an execution, or fork it, or upgrade the host."""
        world, scenario = self.world, edits.choice(scenarios)
        case = self.judge.cases[scenario.execution_id]
        if case.removed or not case.facts.seq:
            return
        what = edits.choice(("resume", "resume", "resume", "revise", "fork", "fork", "upgrade"))
        if what == "upgrade" and world.upgrades < 3:
            world.upgrades += 1
            world.log("the host is upgraded")
        elif what == "fork" and len(scenarios) < FORKS + 2:
            name = f"fork{len(scenarios)}"
            fork, where, otherwise = operating.fork_scenario(edits, self.judge, scenario, name)
            self.judge.add(fork)
            scenarios.append(fork)
            begun = partial(operating.fork, fork=fork, where=where, otherwise=otherwise)
            self.spawn("fork", lambda process: self._begun(process, begun, f"fork of {where}"))
        elif what in ("resume", "revise"):
            wish = operating.wish(edits, self.judge, scenario)
            do = operating.resume if what == "resume" else operating.revise
            told = {key: value for key, value in wish.options.items() if key not in ("by", "reason", "pipeline")}
            world.log(f"somebody wants version {wish.version} and {told}")
            self.spawn(what, lambda process: self._begun(process, partial(do, scenario=scenario, wanted=wish), what))

    def _send_heir(self, scenarios: list[Scenario], seconds: float) -> None:
        """Let somebody resume while a process stands still for longer than its lease."""
        if seconds <= LEASE_SECONDS or not self.world.danger("heir", 0.5):
            return
        scenario = self._chance.choice(scenarios)
        when = self._chance.uniform(LEASE_SECONDS, seconds)

        def come() -> None:
            self.spawn("heir", lambda process: self.resume(process, scenario, PlanRequest(), False))  # noqa: FBT003

        self.world.later(when, come)

    def _freeze(self, process: Process) -> None:
        seconds = self._chance.choice((0.5, 12.0, 29.0, 35.0, 100.0))
        if process.frozen:
            return
        self.world.on_stop(seconds)
        process.frozen = True
        self.world.log(f"{process.name} is stopped for {seconds} s")

        def wake() -> None:
            process.frozen = False
            self.judge.woke(process)

        self.world.later(seconds, wake)

    def _draw(self, name: str) -> Scenario:
        scenario = draw(self._chance, name)
        return scenario if self._edits is None else with_editions(self._edits, scenario)

    def play(self) -> None:
        """Play the seed to its end; raises Violation."""
        world, chance = self.world, self._chance
        scenarios = [self._draw("first")]
        if chance.random() < 0.25:
            # Half of them are twins, which share every value that is not kept in place.
            twin = replace(scenarios[0], execution_id="second")
            scenarios.append(twin if chance.random() < 0.5 else self._draw("second"))
        for scenario in scenarios:
            self.judge.add(scenario)
        world.dangers = chance.choice((0, 2, 4, 8, 16, 30))
        for scenario in scenarios:
            self._begin_either_way(scenario)
        self._live_dangerously(scenarios)
        world.calm()
        world.log("from here on nothing goes wrong")
        if len(scenarios) > 1 and chance.random() < 0.5:
            # What is removed must take nothing with it that the other execution needs.
            self.quiet()
            gone = scenarios[1] if self._edits is None else self._edits.choice(scenarios)
            self.spawn("remover", lambda process: self._remove(process, gone))
        self.quiet()
        for scenario in scenarios:
            if not self.judge.cases[scenario.execution_id].removed:
                self.finish(scenario, scenarios)
        if problems := drive(self._eyes.check()):
            raise Violation("I9", f"the store's own check: {problems}")

    def _live_dangerously(self, scenarios: list[Scenario]) -> None:
        """Play until the dangers are used up, or for long enough."""
        world, chance = self.world, self._chance
        world.on_stop = partial(self._send_heir, scenarios)
        bound = chance.randint(50, 1500)
        lively = chance.choice((0.01, 0.03, 0.1))
        while world.dangers and world.steps < bound:
            if chance.random() < lively:
                self._incident(scenarios)
            if self._edits is not None and self._edits.random() < 2 * lively:
                self._wish(self._edits, scenarios)
            for scenario in scenarios:
                if not self._worked_on() and chance.random() < 0.5:
                    self._take_up(scenario)
            if not world.step():
                return
            self._check()

    def begin(self, scenario: Scenario) -> Process:
        """Start a process that runs the scenario as a new execution."""
        return self.spawn("run", lambda process: self._run(process, scenario))

    def _begin_either_way(self, scenario: Scenario) -> None:
        """Run it, or submit it and serve."""
        if self._chance.random() < SUBMITTED:
            self.spawn("server", lambda process: serve(process, scenario, self._guarded, submit=True))
        else:
            self.begin(scenario)

    def _worked_on(self) -> bool:
        return any(not process.ended for process in self.world.processes)

    def _take_up(self, scenario: Scenario) -> None:
        case = self.judge.cases[scenario.execution_id]
        if case.removed:
            return
        if case.facts.seq == 0:
            if case.creator is None:
                self._begin_either_way(scenario)
        elif case.facts.status != "completed":
            self.spawn("resume", lambda process: self.resume(process, scenario, PlanRequest(), False))  # noqa: FBT003

    def _check(self) -> None:
        self.judge.check()
        self._raise_found()

    def _raise_found(self) -> None:
        """Raise what a process's program ended with, if it is a violation or an error nobody knows."""
        for process in list(self.world.processes):
            if process.main is None or not process.main.done():
                continue
            self.world.processes.remove(process)
            error = None if process.main.cancelled() else process.main.exception()
            if isinstance(error, (Violation, Stuck)):
                raise error
            if error is not None and not process.dead:
                raise Violation("I16", f"{process.name} ended with {type(error).__name__}: {error}") from error
            if process.loop.errors and not process.dead:
                raise Violation("I16", f"{process.name}: {process.loop.errors[0]}")
            process.store.die(at_once=True)

    def quiet(self) -> None:
        """Let everything that is under way come to its end."""
        deadline = self.world.clock.monotonic() + PATIENCE_SECONDS
        while self._worked_on():
            if self.world.clock.monotonic() > deadline or not self.world.step():
                names = ", ".join(process.name for process in self.world.processes if not process.ended)
                raise Violation("I6", f"does not end: {names}")
            self._check()
        self._raise_found()

    def finish(self, scenario: Scenario, scenarios: list[Scenario]) -> None:
        """Resume until nothing is left to do, and compare with an undisturbed run."""
        case, edits = self.judge.cases[scenario.execution_id], self._edits
        if case.creator is not None and not case.facts.seq:
            return  # a fork that never came to be
        if edits is not None:
            for _ in range(edits.choice((1, 2, 3))):
                self._wish(edits, scenarios)
                self.quiet()
            self._go_on(scenario)
            # What is installed now may be newer than what made the results.
            self.world.clock.advance(LEASE_SECONDS + 1)
            request = PlanRequest(on_change=OnChange.RERUN)
            self.spawn("follower", lambda process: self.resume(process, scenario, request, False))  # noqa: FBT003
            self.quiet()
        self._go_on(scenario)
        compare(case.facts, scenario.execution_id, SimulatedTools(self.world.upgrades).call)
        before = case.facts.seq
        if case.facts.status == "completed":
            self.spawn("again", lambda process: self.resume(process, scenario, PlanRequest(), False))  # noqa: FBT003
            self.quiet()
            if case.facts.seq != before:
                raise Violation("I1", f"a resume of a completed execution recorded {case.facts.history[before:]}")

    def _go_on(self, scenario: Scenario) -> None:
        """Resume until nothing is left that gets done."""
        case = self.judge.cases[scenario.execution_id]
        call = SimulatedTools(self.world.upgrades).call
        for _ in range(RESUMES):
            facts = case.facts
            if facts.seq == 0:
                self._begin_either_way(scenario)
            elif facts.status == "completed" or (facts.status == "failed" and all_done(facts, call)):
                break
            else:
                request = PlanRequest(retry=frozenset(facts.stuck()))
                self.world.clock.advance(LEASE_SECONDS + 1)
                if self._chance.random() < SUBMITTED:
                    # A server goes on by itself; what is parked is left for the next resume to release.
                    self.spawn("server", lambda process: serve(process, scenario, self._guarded, enqueue=True))
                    self.quiet()
                    continue
                self.spawn("last", lambda process: self.resume(process, scenario, request, False))  # noqa: FBT003, B023
                if self._chance.random() < 0.1:
                    self.spawn("cancel", lambda process: self.cancel(process, scenario, calm=True))
            self.quiet()

    def close(self) -> None:
        """End whatever is left, as when a violation ended the play early, and close what was opened."""
        for process in self.world.processes:
            process.inside = 0
            process.die()
            process.bury()
        for handle in self._handles:
            drive(handle.close())


async def _collect(store: Store, name: str) -> list[Commit]:
    return [commit async for commit in store.read(ExecutionId(name))]


def simulate(seed: int, store: str = "") -> Report:
    """Play one seed; ``store`` is ``memory`` or ``sqlite``, by default the seed decides."""
    store = store or ("sqlite" if seed % SQLITE_EVERY == 0 else "memory")
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=_fast())) if store == "sqlite" else Path()
    simulation = Simulation(seed, store, folder)
    report = Report(seed, store=store)
    try:
        simulation.play()
    except Violation as violation:
        report.violation = violation
    except Stuck as stuck:
        report.violation = Violation("I6", str(stuck))
    finally:
        with suppress(Exception):
            simulation.close()
        if store == "sqlite":
            shutil.rmtree(folder, ignore_errors=True)
    world = simulation.world
    report.story, report.seen, report.steps = world.story, world.seen, world.steps
    report.facts, report.effects = simulation.judge.facts_seen, simulation.judge.effects_seen
    report.processes = world._number
    return report


def _fast() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
