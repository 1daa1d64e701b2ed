"""What operators do to an execution besides resuming it: go on with an edited definition, ask for more, fork it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chaos.simulation.editions import with_inputs
from chaos.simulation.facts import DONE
from orchestrator.domain.ids import ExecutionId, checkpoint_id
from orchestrator.errors import ResumeError
from orchestrator.revisions import RevisionMethods, must_be

if TYPE_CHECKING:
    import random

    from chaos.simulation.judge import Judge
    from chaos.simulation.scenario import Scenario
    from chaos.simulation.world import Process
    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.domain.plan import Plan, PlanRequest
    from orchestrator.ports.tools import Tools
    from orchestrator.revisions import PlanOptions
    from orchestrator.settings import Settings

OPERATOR = "the operator"


class Operator(RevisionMethods):
    """The product's own way from what a person asks to a plan, in a simulated process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def tools(self) -> Tools:
        """See RevisionMethods."""
        return self._process.tools

    @property
    def settings(self) -> Settings:
        """See RevisionMethods; no definition comes from a file here."""
        raise NotImplementedError

    @property
    def _adapters(self) -> Adapters:
        return self._process.adapters

    @property
    def _live(self) -> LiveExecutions:
        return self._process.live

    def new_execution_id(self) -> str:
        """See RevisionMethods."""
        return "planned only"

    async def asked(self, name: ExecutionId, options: PlanOptions) -> PlanRequest:
        """Return what a person asks for."""
        return await self._request(name, None, options)


@dataclass(frozen=True)
class Wish:
    """What somebody wants of an execution. ``version`` is the number of the definition to go on with (0: none)."""

    options: PlanOptions
    version: int
    looks: bool
    steal: bool


def wish(chance: random.Random, judge: Judge, scenario: Scenario) -> Wish:
    """Draw what somebody wants, of an execution as they see it."""
    facts = judge.cases[scenario.execution_id].facts
    options: PlanOptions = {"by": OPERATOR, "reason": "a wish"}
    at = version_of(scenario, facts.scenario)
    version = 0
    if at < len(scenario.later) and chance.random() < 0.5:
        version = chance.randint(at + 1, len(scenario.later))
        options["pipeline"] = scenario.later[version - 1].pipeline
    names = list((scenario.later[version - 1] if version else facts.scenario).pipeline.tasks)
    known = [name for name in names if name in facts.tasks]
    done = [name for name in known if facts.tasks[name].status in DONE and not facts.is_hopeless(name)]
    if done and chance.random() < 0.4:
        options["rerun"] = chance.sample(done, min(len(done), chance.choice((1, 1, 2))))
        options["downstream"] = chance.random() < 0.3
    if chance.random() < 0.25:
        name = chance.choice(names)
        if name not in options.get("rerun", ()):
            options["set_results"] = {name: {"v": chance.randrange(4), "by": "hand", "padding": ""}}
    if chance.random() < 0.25:
        options["until"] = chance.choice(names)
    if stuck := [name for name in facts.stuck() if name in names and name not in options.get("set_results", {})]:
        options["retry" if chance.random() < 0.8 else "skip"] = stuck[:1]
    if chance.random() < 0.1 and not any(task.pinned for task in facts.tasks.values()):
        options["from_checkpoint"] = chance.randint(1, facts.seq)
    if chance.random() < 0.2:
        options["on_change"] = "rerun"
    return Wish(options, version, chance.random() < 0.5, chance.random() < 0.2)


def version_of(first: Scenario, now: Scenario) -> int:
    """Return which definition an execution has: 0 is the one it began with."""
    return next((number for number, each in enumerate(first.later, 1) if each.pipeline is now.pipeline), 0)


async def resume(process: Process, scenario: Scenario, wanted: Wish) -> Any:
    """Resume as somebody does who wants something of it, and may have looked at the plan before."""
    name, judge, operator = ExecutionId(scenario.execution_id), process.world.judge, Operator(process)
    request = await operator.asked(name, wanted.options)
    shown: list[tuple[int, Plan]] = []
    if wanted.looks:
        before = judge.cases[name].facts.seq
        plan = await process.live.plan(name, request)
        if judge.cases[name].facts.seq == before:
            shown.append((before, plan))

    def planned(plan: Plan) -> None:
        judge.look()
        facts = judge.cases[name].facts
        if wanted.version and version_of(scenario, facts.scenario) >= wanted.version:
            raise ResumeError("somebody else went on with that definition already")
        for seq, looked_at in shown:
            if seq == facts.seq and looked_at.digest != plan.digest:
                where = looked_at.differences(plan, lambda each: each.verb.value)
                raise judge.breach("I1", f"the plan is another one than shown, and nothing happened: {where}")
            must_be(looked_at)(plan)

    return await process.live.resume(name, request, steal=wanted.steal, planned=planned)


async def revise(process: Process, scenario: Scenario, wanted: Wish) -> Any:
    """Record what somebody wants, and leave the run to whoever comes next."""
    name = ExecutionId(scenario.execution_id)
    request = await Operator(process).asked(name, wanted.options)

    def planned(_plan: Plan) -> None:
        process.world.judge.look()
        facts = process.world.judge.cases[name].facts
        if wanted.version and version_of(scenario, facts.scenario) >= wanted.version:
            raise ResumeError("somebody else went on with that definition already")

    return await process.live.revise(name, replace(request, until=None), planned)


def fork_scenario(chance: random.Random, judge: Judge, scenario: Scenario, name: str) -> tuple[Scenario, str, bool]:
    """Draw a fork: its own scenario, where it begins, and whether it starts otherwise."""
    source = judge.cases[scenario.execution_id].facts
    where = scenario.execution_id
    started = source.scenario
    if chance.random() < 0.5:
        seq = chance.randint(1, source.seq)
        where = checkpoint_id(scenario.execution_id, seq)
        started = judge.past(where).scenario
    number = version_of(scenario, started)
    every = (scenario, *scenario.later)[number:]
    otherwise = chance.random() < 0.4
    if otherwise:
        start = scenario.inputs["start"] + 1
        every = tuple(with_inputs(each, name, start) for each in every)
    return replace(every[0], execution_id=name, later=every[1:]), where, otherwise


async def fork(process: Process, fork: Scenario, where: str, *, otherwise: bool) -> Any:
    """Fork an execution, whoever owns it, and leave it as it is."""
    judge = process.world.judge
    process.only_reads = where.partition("@")[0]
    judge.cases[fork.execution_id].creator = process
    inputs = {"start": fork.inputs["start"]} if otherwise else None
    return await Operator(process).fork(
        where,
        inputs=inputs,
        execution_id=fork.execution_id,
        planned=lambda plan: judge.planned(fork.execution_id, 0, plan),
        by=OPERATOR,
    )
