"""Bugs to plant in what goes on with edited definitions: plans, kept results, results given by hand, forks."""

# ruff: noqa: SLF001 - to plant a bug is to reach inside

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.core import claims, live
from orchestrator.core.live import LiveExecutions
from orchestrator.domain import fingerprint, planner
from orchestrator.domain.events import DefinitionChanged, ResultSet, ResumePlanned, TasksReset
from orchestrator.domain.execution import DONE, ExecutionState
from orchestrator.domain.ids import parse_checkpoint_id
from orchestrator.domain.tasks import TaskState
from orchestrator.revisions import RevisionMethods

if TYPE_CHECKING:
    from collections.abc import Callable


def forgets_what_depends_on_a_dependent() -> None:
    """Let only those be looked at again that read a step which runs again for certain."""
    judge = planner._Planner._task

    def wrong(self: Any, task: Any) -> None:
        judge(self, task)
        if self.decisions[task.id].conditional:
            self.open.discard(task.id)

    _plant(planner._Planner, "_task", wrong)


def keeps_what_was_edited() -> None:
    """Keep a result although the step's own text, or what it is given, is another one."""
    _plant(planner, "weigh", lambda *_, **__: [])


def never_keeps_what_is_given_the_same() -> None:
    """Run every step again that was to be looked at again."""

    async def wrong(*_: Any) -> bool:
        return False

    _plant(claims.Claims, "_settle", wrong)


def keeps_whatever_it_is_given() -> None:
    """Keep the result of every step that was to be looked at again."""
    _plant(claims, "weigh", lambda *_, **__: [])


def shows_the_old_value_of_what_runs_again() -> None:
    """Reset a step, and let those who read it believe that it is done."""
    reset = ExecutionState._reset

    def wrong(self: ExecutionState, event: TasksReset) -> None:
        unsatisfy, self_type = ExecutionState._unsatisfy, ExecutionState
        self_type._unsatisfy = lambda *_: None  # type: ignore[method-assign]
        try:
            reset(self, event)
        finally:
            self_type._unsatisfy = unsatisfy  # type: ignore[method-assign]

    ExecutionState._APPLY[TasksReset] = wrong


def edits_and_forgets_the_results() -> None:
    """Go over to an edited definition as if nothing had been done."""
    redefined = ExecutionState._redefined

    def wrong(self: ExecutionState, event: DefinitionChanged) -> None:
        self.tasks = {name: TaskState(0) for name in self.tasks}
        redefined(self, event)

    ExecutionState._APPLY[DefinitionChanged] = wrong


def loses_what_was_renamed() -> None:
    """Take a renamed step for a new one."""
    redefined = ExecutionState._redefined
    ExecutionState._APPLY[DefinitionChanged] = lambda state, event: redefined(state, event._replace(renamed={}))


def gives_a_result_and_tells_nobody() -> None:
    """Record a given result without letting those begin that waited for it."""
    result_set = ExecutionState._result_set

    def wrong(self: ExecutionState, event: ResultSet) -> None:
        waited = self.tasks[event.task].status not in DONE
        result_set(self, event)
        if waited:
            self._unsatisfy(event.task)

    ExecutionState._APPLY[ResultSet] = wrong


def runs_beyond_what_was_asked_for() -> None:
    """Run everything, whatever step the run was to end with."""
    ExecutionState._APPLY[ResumePlanned] = lambda _state, _event: None


def forks_what_came_later() -> None:
    """Give a fork the results that were recorded after its position."""
    past = RevisionMethods._past

    async def wrong(self: RevisionMethods, execution: str) -> Any:
        name, state = await past(self, execution)
        if "@" in execution:
            state = await self._live.load(name)
            state.seq = parse_checkpoint_id(execution)[1]
        return name, state

    _plant(RevisionMethods, "_past", wrong)


def takes_over_what_it_forks() -> None:
    """Own an execution while it is being forked."""
    past = RevisionMethods._past

    async def wrong(self: RevisionMethods, execution: str) -> Any:
        name, state = await past(self, execution)
        await self._adapters.store.release(await self._adapters.store.acquire(name, "a fork", steal=True))
        return name, state

    _plant(RevisionMethods, "_past", wrong)


def records_another_plan() -> None:
    """Record the digest of a plan that nobody was shown."""
    _plant(live, "ResumePlanned", lambda at, _digest, *rest: ResumePlanned(at, "0" * 16, *rest))


def shows_another_plan() -> None:
    """Show a plan without what was asked to run again."""
    plan = LiveExecutions.plan

    async def wrong(self: LiveExecutions, execution_id: Any, request: Any) -> Any:
        return await plan(self, execution_id, replace(request, rerun=frozenset()))

    _plant(LiveExecutions, "plan", wrong)


def minds_no_new_code() -> None:
    """Keep a result whatever became of the tool's version and code."""
    _plant(fingerprint, "call_changes", lambda *_: [])


BUGS_OF_PLANS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        forgets_what_depends_on_a_dependent,
        keeps_what_was_edited,
        never_keeps_what_is_given_the_same,
        keeps_whatever_it_is_given,
        shows_the_old_value_of_what_runs_again,
        edits_and_forgets_the_results,
        loses_what_was_renamed,
        gives_a_result_and_tells_nobody,
        runs_beyond_what_was_asked_for,
        forks_what_came_later,
        takes_over_what_it_forks,
        records_another_plan,
        shows_another_plan,
        minds_no_new_code,
    )
}


def _plant(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)
