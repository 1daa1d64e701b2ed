"""``python -m chaos edits``: random pipelines, edited at random while they run, fail and are resumed.

Of every resume is known beforehand, by values alone, which steps it has to run and what they come to (see
``chaos.drafts``). A trial follows from its seed.
"""

from __future__ import annotations

import asyncio
import signal
from random import Random
from typing import TYPE_CHECKING, Any

from chaos.cases import campaign, options
from chaos.drafts import FUNCTIONS, SKIPPED, Draft, Given, draw, edited, judge, result_of
from orchestrator import Orchestrator, Pipeline, TaskContext
from orchestrator.domain.execution import DONE, TaskStatus
from orchestrator.domain.plan import Verb
from orchestrator.errors import ExecutionError
from orchestrator.tools.decorator import Action, Definition
from orchestrator.tools.registry import ToolRegistry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from orchestrator.core.engine import Engine
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.plan import Plan

RUN = "trial"


class Violated(Exception):
    """What was promised, and is not so."""


class Trial:
    """One execution, edited and resumed.

    ``last`` is what each step was given when it ended well last, and its value.
    """

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.url = f"memory://edits-{seed}"
        self.draft = draw(self.chance)
        self.drafts = [self.draft]
        self.last: dict[str, tuple[Given, Any]] = {}
        self.ran: list[str] = []
        self.history: list[str] = []
        self.stop_after: int | None = None
        self.engines: list[Engine] = []

    # -- the world -------------------------------------------------------------------------------------------------

    def tools(self) -> ToolRegistry:
        """Return the functions in their present versions."""
        tools = ToolRegistry(sources=[])
        for name in FUNCTIONS:
            definition = Definition(name, "a trial")
            definition.add(
                Action("run", self._function(name, self.draft.versions[name]), str(self.draft.versions[name]))
            )
            tools.register(name, definition)
        return tools

    def _function(self, name: str, version: int) -> Callable[..., Any]:
        async def run(context: TaskContext, salt: int, values: list[Any], fails: bool, extra: int | None = None) -> int:  # noqa: FBT001
            self.ran.append(context.task_id)
            self.last.pop(context.task_id, None)
            if self.stop_after is not None and len(self.ran) >= self.stop_after:
                for engine in self.engines:
                    engine.stop(signal.SIGTERM)
            if fails:
                raise ValueError("it fails")
            value = result_of(version, salt, values, extra)
            self.last[context.task_id] = (name, version, salt, fails, tuple(values), extra), value
            return value

        return run

    async def drive(self, *, resume: bool, **asked: Any) -> bool:
        """Run or resume, perhaps stopped on the way; return whether it came to its end."""
        self.ran.clear()
        self.engines.clear()
        chance = self.chance
        self.stop_after = chance.randint(1, 1 + len(self.draft.steps)) if chance.random() < 0.3 else None
        async with Orchestrator(self.url, tools=self.tools(), max_concurrency=chance.choice((1, 2, 8))) as made:
            try:
                if resume:
                    await made.resume_pipeline(RUN, admitted=self.engines.append, **asked)
                else:
                    await made.run_pipeline(self.compiled(), execution_id=RUN, admitted=self.engines.append)
            except ExecutionError as error:
                return type(error).__name__ == "ExecutionFailed"
            return True

    def compiled(self) -> Pipeline:
        """Return the draft as a pipeline."""
        return Pipeline.from_dict(self.draft.document(), tools=self.tools())

    # -- a trial ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make the trial; raises Violated."""
        expected = judge(self.draft, {})
        ended = await self.drive(resume=False)
        await self.compare(expected, None, ended=ended)
        number = 0
        for _ in range(self.chance.randint(1, 4)):
            for _ in range(self.chance.randint(0, 3)):
                number += 1
                self.edit(number)
            await self.resume(edited=True)
        await self.resume(edited=False)

    def edit(self, number: int) -> None:
        """Edit at random, or go back to what was."""
        if self.chance.random() < 0.15:
            back = self.chance.choice(self.drafts)
            self.draft = Draft(back.inputs, back.steps, self.draft.versions)
            told = "back to an earlier one"
        else:
            self.draft, told = edited(self.chance, self.draft, number)
        self.drafts.append(self.draft)
        self.history.append(told)

    async def resume(self, *, edited: bool) -> None:
        """Look at the plan, resume, and compare."""
        asked: dict[str, Any] = {"pipeline": self.compiled()} if edited else {}
        async with Orchestrator(self.url, tools=self.tools()) as made:
            plan = await made.plan(RUN, **asked)
            before = await made.get_state(RUN)
            renamed = {str(task): known for task, known in _renamed(self.draft, before).items()}
        for new, old in renamed.items():
            if old in self.last:
                self.last[new] = self.last.pop(old)
        names = {step.name for step in self.draft.steps}
        self.last = {name: known for name, known in self.last.items() if name in names}
        expected = judge(self.draft, self.last)
        self.history.append(f"resume, {'edited' if edited else 'plain'}: to run {sorted(expected.runs)}")
        ended = await self.drive(resume=True, expect=plan, **asked)
        await self.compare(expected, plan, ended=ended)

    async def compare(self, expected: Any, plan: Plan | None, *, ended: bool) -> None:
        """Hold what was done against what was to be done; raises Violated."""
        ran, stopped = set(self.ran), self.stop_after is not None and len(self.ran) >= self.stop_after
        self.must(len(ran) == len(self.ran), f"ran twice: {self.ran}")
        self.must(ran <= expected.runs, f"ran with nothing changed: {sorted(ran - expected.runs)}")
        async with Orchestrator(self.url, tools=self.tools()) as made:
            state = await made.get_state(RUN)
            values = {str(name): await made.get_value(task.value) for name, task in state.tasks.items()}
        done = {str(name) for name, task in state.tasks.items() if task.status in DONE}
        for name in [str(name) for name, task in state.tasks.items() if task.status is TaskStatus.SKIPPED]:
            self.last.pop(name, None)
        if plan is not None:
            self.compare_plan(plan, ran, state, stopped=stopped)
        if stopped or not ended:
            return
        self.must(ran == expected.runs, f"did not run: {sorted(expected.runs - ran)}")
        self.must(set(expected.values) - expected.loose <= done, f"not done: {set(expected.values) - done}")
        self.must(not expected.failed & done, f"failed and done: {expected.failed & done}")
        for name, value in expected.values.items():
            if name in done and name not in expected.loose:
                self.must(values[name] == value, f"{name} is {values[name]}, and has to be {value}")
                skipped = state.tasks[_id(state, name)].status is TaskStatus.SKIPPED
                self.must(skipped == (name in expected.skipped), f"{name} skipped: {skipped}")
        complete = state.status.value == "completed"
        self.must(complete == expected.completes, f"ended {state.status.value}")
        if complete:
            await self.compare_outputs(expected)

    async def compare_outputs(self, expected: Any) -> None:
        """The outputs are those of a fresh run."""
        async with Orchestrator(self.url, tools=self.tools()) as made:
            state = await made.get_state(RUN)
            outputs = await made.get_value(state.outputs)
        wanted = {step.name: expected.values[step.name] for step in self.draft.steps[-2:]}
        self.must(outputs == wanted, f"outputs {outputs}, and have to be {wanted}")

    def compare_plan(self, plan: Plan, ran: set[str], state: ExecutionState, *, stopped: bool) -> None:
        """What the plan told is what was done."""
        blocked = {str(name) for name in state.blocked()}
        for decision in plan.decisions:
            name = str(decision.task)
            task = state.tasks[decision.task]
            match decision.verb:
                case Verb.REUSE | Verb.SKIP | Verb.WAIT:
                    self.must(name not in ran, f"{name} was to {decision.verb}, and ran")
                    if decision.verb is Verb.REUSE:
                        self.must(task.status in DONE, f"{name} was to be reused, and is {task.status}")
                case Verb.RUN | Verb.RERUN if not decision.conditional:
                    may_not = stopped or name in blocked or task.status is TaskStatus.SKIPPED
                    self.must(name in ran or may_not, f"{name} was to {decision.verb}, and did not: {decision.reason}")
                case _:
                    pass

    def must(self, holds: bool, what: str) -> None:  # noqa: FBT001 - what is asserted
        """Raise Violated unless it holds."""
        if not holds:
            told = "; ".join(self.history)
            raise Violated(f"{what}\n    after: {told}\n    {self.draft}")


def _id(state: ExecutionState, name: str) -> Any:
    return next(task for task in state.tasks if str(task) == name)


def _renamed(draft: Draft, state: ExecutionState) -> dict[str, str]:
    """Return which steps go on under another name, as the documentation says."""
    names = {step.name for step in draft.steps}
    known = {str(name) for name in state.tasks}
    return {
        step.name: step.renamed_from
        for step in draft.steps
        if step.renamed_from and step.name not in known and step.renamed_from in known - names
    }


def case(seed: int) -> tuple[str, str]:
    """Make the trial of a seed."""
    trial = Trial(seed)
    try:
        asyncio.run(trial.run())
    except Exception as error:  # noqa: BLE001 - any other is a violation, too
        what = str(error) if isinstance(error, Violated) else f"{type(error).__name__}: {error}; {trial.history}"
        return "trials", f"seed {seed}: {what}\n    python -m chaos edits --seed {seed} --seeds 1"
    return "trials", ""


def run(arguments: argparse.Namespace) -> int:
    """Make as many as asked; return the exit code."""
    return campaign("edits", case, arguments.count, arguments).report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("edits", help="edit pipelines at random, and resume")
    options(parser, "seeds", 10_000)
    parser.set_defaults(run=run)


__all__ = ["SKIPPED", "Trial", "case", "register"]
