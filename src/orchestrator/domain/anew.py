"""What a plan knows of containers: which of them are worked out anew, and how much in them runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from orchestrator.domain.control import Control, ForEach, Loop, Switch
from orchestrator.domain.execution import DONE, TaskStatus
from orchestrator.domain.plan import Decision, Verb

if TYPE_CHECKING:
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.recorded import Recorded
    from orchestrator.domain.tasks import TaskState


class Containers:
    """The containers of one plan, over what is recorded of them."""

    def __init__(self, recorded: Recorded, *, other_inputs: bool) -> None:
        self._recorded = recorded
        self._other_inputs = other_inputs
        self._anew: dict[TaskId, bool] = {}
        self._runs: Counter[TaskId] = Counter()
        self._rounds: dict[TaskId, int] = {}
        """The first round of a loop in which something runs."""

    def in_question(self, task: Task) -> bool:
        """Tell whether what a task is given depends on what a container around it is worked out to."""
        within = task.within
        return within is not None and (self.begins_anew(within) or self._rounds.get(within, task.index) < task.index)

    def goes_back(self, name: TaskId) -> bool:
        """Tell whether something runs in a round of a loop that others came after: these begin after it once more."""
        first = self._rounds.get(name)
        return first is not None and first < len(self._recorded.graph.expansions[name].keys) - 1

    def begins_anew(self, name: TaskId) -> bool:
        """Tell whether a container is worked out anew whatever happens before it: after an edit, or if in question."""
        found = self._anew.get(name)
        if found is None:
            found = self._anew[name] = self._is_in_question(name)
        return found

    def _is_in_question(self, name: TaskId) -> bool:
        task, known = self._recorded.graph[name], self._recorded.state(name)
        if self.in_question(task):
            return True
        if known is None or (name not in self._recorded.graph.expansions and not _was_worked_out(known)):
            return False
        if known.kept is not None:
            return True
        old = self._recorded.before(task, known)
        stale = (known.stale or self._other_inputs) and task.reads is not None
        return stale or (old is not task and _asked(old) != _asked(task))

    def note(self, task: Task, decision: Decision) -> None:
        """Take note that a task does not simply keep its result."""
        if task.within is not None and decision.verb in (Verb.RUN, Verb.RERUN, Verb.SKIP):
            self._runs[task.within] += 1
            if isinstance(self._recorded.graph[task.within].control, Loop):
                self._rounds.setdefault(task.within, task.index)

    def told(self, name: TaskId) -> str:
        """Say how much in a container runs; empty if nothing does."""
        if not self._runs[name]:
            return ""
        graph = self._recorded.graph
        expansion = graph.expansions[name]
        if not isinstance(graph[name].control, ForEach):
            return f"{self._runs[name]} of the steps in it run"
        done, names = 0, graph.listed(name)
        width = len(names) // max(len(expansion.keys), 1)
        for first in range(0, len(names), max(width, 1)):
            states = [self._recorded.state(each) for each in names[first : first + width]]
            done += all(state is not None and state.status in DONE for state in states)
        return f"{done} of {len(expansion.keys)} items are done"


def _was_worked_out(known: TaskState) -> bool:
    """Tell whether a container got tasks once, though an edit may have taken the branch or the kind they were of."""
    return known.status in (TaskStatus.COMPLETED, TaskStatus.EXPANDED) and not known.pinned


def _asked(task: Task) -> Any:
    """Return what of a container decides about the tasks in it, and about what its result is made of."""
    return task.condition, asks(task.control), [inner.id for inner in task.body]


def asks(control: Control | None) -> Any:
    """Return what of a construct decides about the tasks that there are."""
    match control:
        case ForEach():
            return control.items, control.key
        case Loop():
            return control.while_, control.until
        case Switch():
            return control.value, dict(control.cases), control.default
        case _:
            return None
