"""``python -m chaos language``: random pipelines of the whole language, killed at random commits, edited and resumed.

What they come to is known beforehand (see ``chaos.meaning``); what each step was given when it was done last decides
which may run. After each fact what the fold keeps is counted from scratch (see ``chaos.folding``). A trial follows from
its seed.
"""

from __future__ import annotations

import asyncio
import json
import signal
from random import Random
from typing import TYPE_CHECKING, Any

from chaos.cases import campaign, options
from chaos.folding import Miscounted, counting
from chaos.meaning import Failing, Given, Meaning, mean, result_of
from chaos.sketches import Draw, edited, walk
from orchestrator import Orchestrator, Pipeline, TaskContext
from orchestrator.domain.events import TaskClaimed, TaskCompleted, TaskSkipped
from orchestrator.domain.execution import DONE, ExecutionState, TaskStatus
from orchestrator.domain.plan import Verb
from orchestrator.errors import ExecutionError, StoreUnavailable
from orchestrator.tools.decorator import Action, Definition
from orchestrator.tools.registry import ToolRegistry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from orchestrator.core.engine import Engine
    from orchestrator.domain.events import Event
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.plan import Plan

Path = tuple[tuple[str, str | None], ...]
RUN = "trial"
FUNCTIONS = ("mix", "deal")
MOST_RESUMES = 60
PATIENCE_SECONDS = 60


class Violated(Exception):
    """What was promised, and is not so."""


class Killed(StoreUnavailable):
    """The process ends here, before or after a commit."""


class Dying:
    """A journal whose process dies at a commit: before it, or after it, when nobody has heard of it yet."""

    def __init__(self, inner: Any, left: int, *, after: bool) -> None:
        self._inner = inner
        self._left = left
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, lease: Any, events: Sequence[Event], *arguments: Any, **options: Any) -> None:
        """Append, or die."""
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed("killed before a commit")
        await self._inner.append(lease, events, *arguments, **options)
        if self._left == 0:
            raise Killed("killed after a commit")


def dies(engine: Engine, left: int, *, after: bool) -> None:
    """Let the process of an engine die at its ``left``-th commit."""
    journal: Any = Dying(engine.recorder._journal, left, after=after)  # noqa: SLF001
    engine.recorder._journal = journal  # noqa: SLF001


class Trial:
    """One execution of a sketch, killed and resumed until it is done, edited, and so on.

    ``last`` is what each step was given when it was done last, by id, as the journal has it.
    """

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.url = f"memory://language-{seed}"
        self.draw = Draw(self.chance)
        self.sketch = self.draw.sketch()
        self.last: dict[str, Given] = {}
        self.given: dict[tuple[str, int], tuple[Given, Any]] = {}
        self.ran: list[str] = []
        self.flaked: set[str] = set()
        self.history: list[str] = []
        self.paths: dict[str, Path] = {}
        self.seq = 0
        self.versions = 1
        self.kills = 0
        self.effects = 0

    # -- the world -------------------------------------------------------------------------------------------------

    def tools(self) -> ToolRegistry:
        """Return the functions."""
        tools = ToolRegistry(sources=[])
        for name in FUNCTIONS:
            definition = Definition(name, "a trial")
            definition.add(Action("run", self._function(name), "1"))
            tools.register(name, definition)
        return tools

    def _function(self, name: str) -> Callable[..., Any]:
        async def run(
            context: TaskContext,
            salt: int,
            values: list[Any],
            fails_at: int | None,
            flaky: bool,  # noqa: FBT001
        ) -> Any:
            self.ran.append(context.task_id)
            self.effects += 1
            if self.chance.random() < 0.3:
                await asyncio.sleep(0)
            given = (name, salt, fails_at, json.dumps(values))
            if flaky and context.task_id not in self.flaked:
                self.flaked.add(context.task_id)
                raise OSError("for once")
            try:
                value = result_of(name, salt, values, fails_at)
            except Failing:
                raise ValueError("it fails") from None
            self.given[context.task_id, context.attempt] = given, value
            return value

        return run

    def _admitted(self, engine: Engine) -> None:
        if self.chance.random() < 0.6:
            dies(engine, self.chance.choice((1, 2, 3, 5, 8, 13)), after=self.chance.random() < 0.5)

    async def drive(self, **asked: Any) -> bool:
        """Run or resume, perhaps killed on the way; return whether it came to its end."""
        self.ran.clear()
        resume = bool(self.seq)
        capacity = self.chance.choice((1, 2, 8))
        async with Orchestrator(self.url, tools=self.tools(), max_concurrency=capacity) as made:
            try:
                if resume:
                    await made.resume_pipeline(RUN, admitted=self._admitted, **asked)
                else:
                    await made.run_pipeline(self.compiled(), execution_id=RUN, admitted=self._admitted)
            except Killed:
                self.kills += 1
                return False
            except ExecutionError as error:
                self.must(type(error).__name__ == "ExecutionFailed", f"{type(error).__name__}: {error}")
            return True

    def compiled(self) -> Pipeline:
        """Return the sketch as a pipeline."""
        return Pipeline.from_dict(self.sketch.document(), tools=self.tools())

    # -- a trial ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make the trial; raises Violated."""
        await self.to_the_end()
        for _ in range(self.chance.randint(0, 3)):
            before = {node.name for node in walk(self.sketch.steps)}
            for _ in range(self.chance.randint(1, 2)):
                self.sketch, told = edited(self.draw, self.sketch)
                self.history.append(told)
            renamed = {node.renamed_from: node.name for node in walk(self.sketch.steps) if node.name not in before}
            renamed.pop("", None)
            self.last = {_renamed(self.paths.get(name), renamed) or name: given for name, given in self.last.items()}
            await self.to_the_end(pipeline=self.compiled())

    async def to_the_end(self, **asked: Any) -> None:
        """Run or resume until it has come to its end, and compare."""
        meaning = mean(self.sketch)
        due = self.due(meaning)
        ran: set[str] = set()
        self.paths |= meaning.paths
        self.versions += bool(asked)
        plan = await self.plan(**asked) if asked else None
        for _ in range(MOST_RESUMES):
            ended = await self.drive(**asked)
            ran |= set(self.ran)
            state = await self.look(due)
            if state.versions == self.versions:
                asked = {}
            if not ended:
                self.history.append("killed")
                continue
            if state.status.value == "completed" or not meaning.completes(self.sketch):
                break
            self.history.append("failed for once")
        else:
            raise Violated(f"it does not end; {self.told()}")
        await self.compare(meaning, state, due)
        if plan is not None:
            self.compare_plan(plan, ran, state)

    async def plan(self, **asked: Any) -> Plan:
        """Return what a resume says that it will do."""
        async with Orchestrator(self.url, tools=self.tools()) as made:
            return await made.plan(RUN, **asked)

    def compare_plan(self, plan: Plan, ran: set[str], state: ExecutionState) -> None:
        """What the plan told of the steps that there were is what was done."""
        for decision in plan.decisions:
            name, known = decision.task, state.tasks.get(decision.task)
            if known is None or state.graph[name].control is not None:
                continue
            if decision.verb in (Verb.REUSE, Verb.SKIP, Verb.WAIT):
                self.must(name not in ran, f"{name} was to {decision.verb}, and ran")
            elif not decision.conditional and state.status.value == "completed" and not _kept_from_it(name, state):
                done = name in ran or known.status is TaskStatus.SKIPPED
                self.must(done, f"{name} was to {decision.verb}, and did not: {decision.reason}")

    def due(self, meaning: Meaning) -> set[str]:
        """Return the steps that may run: what they are given is not what they were given last."""
        return {name for name, given in meaning.given.items() if self.last.get(name) != given}

    async def look(self, due: set[str]) -> ExecutionState:
        """Read what was recorded in this leg, and hold it against what may be; return the state."""
        self.must(set(self.ran) <= due, f"ran with nothing changed: {sorted(set(self.ran) - due)}")
        async with Orchestrator(self.url, tools=self.tools()) as made:
            state = await made.get_state(RUN)
            events = [(seq, event) async for seq, event in made.facts(RUN) if seq > self.seq]
        claimed: set[str] = set()
        for seq, event in events:
            self.seq = seq
            match event:
                case TaskClaimed():
                    self.last.pop(event.task, None)
                    claimed.add(event.task)
                case TaskCompleted():
                    self.must(event.task in due, f"done again: {event.task}")
                    due.discard(event.task)
                    self.last[event.task] = self.given[event.task, event.attempt][0]
                case TaskSkipped():
                    self.last.pop(event.task, None)
                case _:
                    pass
        self.must(set(self.ran) <= claimed, f"ran without a claim: {sorted(set(self.ran) - claimed)}")
        if state.versions == self.versions:
            self.last = {name: given for name, given in self.last.items() if name in state.tasks}
        return state

    async def compare(self, meaning: Meaning, state: ExecutionState, due: set[str]) -> None:
        """Hold the end against what the sketch comes to."""
        complete = state.status.value == "completed"
        self.must(complete == meaning.completes(self.sketch), f"ended {state.status.value}")
        async with Orchestrator(self.url, tools=self.tools()) as made:
            values = {str(name): await made.get_value(task.value) for name, task in state.tasks.items()}
            outputs = await made.get_value(state.outputs)
        for name, task in state.tasks.items():
            if _is_to_be_looked_at(name, state):
                continue
            if task.status in DONE and name in meaning.values:
                self.must((task.status is TaskStatus.SKIPPED) == (name in meaning.skipped), f"{name} is {task.status}")
                if state.graph[name].control is None:
                    wanted = meaning.values[name]
                    self.must(values[name] == wanted, f"{name} is {values[name]}, and has to be {wanted}")
            self.must(not complete or name in meaning.paths, f"there is a task that should not be: {name}")
            self.must(task.status not in DONE or name not in meaning.failed, f"failed and done: {name}")
        if not complete:
            return
        wanted = {node.name: meaning.values[node.name] for node in self.sketch.steps}
        self.must(outputs == wanted, f"outputs {outputs}, and have to be {wanted}")
        lacking = {name for name in meaning.sure & due if name not in meaning.failed}
        self.must(not lacking, f"never done: {sorted(lacking)}")

    def told(self) -> str:
        """Return what happened so far, and to what."""
        return f"after: {'; '.join(self.history)}\n    {json.dumps(self.sketch.document())}"

    def must(self, holds: bool, what: str) -> None:  # noqa: FBT001 - what is asserted
        """Raise Violated unless it holds."""
        if not holds:
            raise Violated(f"{what}\n    {self.told()}")


def _is_to_be_looked_at(name: TaskId, state: ExecutionState) -> bool:
    """Tell whether what a step has is of a container around it that is to be worked out anew, and did not get to it."""
    within = state.tasks[name].within
    while within is not None:
        if state.groups[within].closed:
            return True
        within = state.tasks[within].within
    return False


def _kept_from_it(name: TaskId, state: ExecutionState) -> bool:
    """Tell whether a step could not begin, since what it needs has failed, or one beside it in what was given up."""
    known = state.tasks[name]
    if known.status is not TaskStatus.PENDING:
        return False
    held, within = bool(known.unmet), known.within
    while within is not None and not held:
        around = state.tasks[within]
        held, within = around.status is TaskStatus.FAILED, around.within
    return held


def _renamed(path: Path | None, names: dict[str, str]) -> str:
    """Return the id that a step has where steps are called otherwise."""
    found = ""
    for name, key in path or ():
        called = names.get(name, name)
        found += f".{called}" if found and called else called
        found += f"[{key}]" if key is not None else ""
    return found


def case(seed: int) -> tuple[str, str]:
    """Make the trial of a seed."""
    trial = Trial(seed)
    violated = attempt(trial, trial.run)
    again = f"\n    python -m chaos language --seed {seed} --seeds 1"
    return "trials", f"seed {seed}: {violated}{again}" if violated else ""


def attempt(trial: Trial, act: Callable[[], Any]) -> str:
    """Do something of a trial; return what was violated."""
    usual = signal.signal(signal.SIGALRM, _too_long)  # an engine that spins lets no other timer come up
    signal.alarm(PATIENCE_SECONDS)
    try:
        with counting():
            asyncio.run(act())
    except Exception as error:  # noqa: BLE001 - any other is a violation, too
        plain = isinstance(error, (Violated, Miscounted))
        what = f"{error}" if plain else f"{type(error).__name__}: {error}"
        if not isinstance(error, Violated):
            what += f"\n    {trial.told()}"
        return what
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)
    return ""


def _too_long(*_: object) -> None:
    raise TimeoutError(f"it does not end within {PATIENCE_SECONDS} s")


def run(arguments: argparse.Namespace) -> int:
    """Make as many as asked; return the exit code."""
    return campaign("language", case, arguments.count, arguments).report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("language", help="kill and edit whole-language pipelines")
    options(parser, "seeds", 2_000)
    parser.set_defaults(run=run)
