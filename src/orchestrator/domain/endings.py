"""The tasks of the later stages, as the fold keeps account of them (see domain.stage).

They are in the graph from the fact on that enters their stage, until an owner begins with the main part again.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from orchestrator.domain.limits import Limits, Queue
from orchestrator.domain.members import Members
from orchestrator.domain.stage import Stage, undone_by
from orchestrator.domain.tasks import STUCK, TaskState, TaskStatus

if TYPE_CHECKING:
    from collections import OrderedDict

    from orchestrator.domain.events import ErrorInfo, StageEntered
    from orchestrator.domain.expansion import Graph
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline


class Endings(Members):
    """The part of an execution's state that is about its stages.

    ``stage`` is where it is, ``outcome`` how the main part ended (empty before), ``ending_error`` why, where no task
    tells. ``ending`` tells that it is past the main part; ``ending_counts`` are the tasks of the later stages.
    ``aborted``: somebody wants no later stage, or no more of it.
    """

    __slots__ = (
        "_former",
        "aborted",
        "ending_counts",
        "ending_error",
        "limits",
        "outcome",
        "pipeline",
        "ready",
        "stage",
    )

    def __init__(self, graph: Graph, pipeline: Pipeline | None) -> None:
        super().__init__(graph)
        self.pipeline = pipeline
        self.limits = Limits(pipeline.limits if pipeline else {})
        self.ready: OrderedDict[TaskId, None] = self.limits.unlimited.ready
        self.stage = Stage.MAIN
        self.outcome = ""
        self.ending_error: ErrorInfo | None = None
        self.ending_counts: dict[TaskStatus, int] = dict.fromkeys(TaskStatus, 0)
        self.aborted = False
        self._former: dict[TaskId, TaskState] = {}

    def enter(self, event: StageEntered) -> None:
        """Let the tasks of a stage begin, and none of those before it."""
        if self.pipeline is None:
            raise ValueError("an execution without a definition has no stages")
        self.ending = True
        for name in (*self._all_ready(), *self._held_back()):
            self._unready(name)
        self.gatherable.clear()
        self.stage, self.outcome, self.ending_error = Stage(event.stage), event.outcome, event.error
        written = self.pipeline.on_failure if self.stage is Stage.ON_FAILURE else self.pipeline.finally_
        for name in event.tasks:
            self._add_ending(name)
            if self.stage is Stage.UNDO:
                self.tasks[name].life = self.tasks[undone_by(name)[0]].life
                self.graph.add_undo(name)
            else:
                self.graph.endings[name] = written[name]
        for name in event.tasks:
            needs = self.graph[name].needs
            self.tasks[name].unmet = len(needs)
            if self.stage is not Stage.UNDO:  # steps are undone one after the other, and keep no limits
                self.tasks[name].limits = self.graph[name].limits
            for need in needs:
                self.dependents.setdefault(need, []).append(name)
            if not needs:
                self._queue(self.tasks[name]).ready[name] = None

    def _add_ending(self, name: TaskId) -> None:
        if name in self.tasks:
            raise ValueError(f"{name} is there already")
        task = self.tasks[name] = TaskState(0)
        task.ending = True
        former = self._former.get(name)
        if former is not None:  # what an earlier ending did is another thing: no two attempts have one number
            task.attempt, task.generation, task.life = former.attempt, former.generation, former.life + 1
            task.anew = True
        self.ending_counts[TaskStatus.PENDING] += 1

    def _queue(self, task: TaskState) -> Queue:
        """Return the queue that a task belongs to."""
        return self.limits.queue(task.limits) if task.limits else self.limits.unlimited

    def _all_ready(self) -> list[TaskId]:
        """Return the tasks that may begin, whatever limits they keep."""
        return [name for queue in self.limits.queues.values() for name in queue.ready]

    def _held_back(self) -> tuple[TaskId, ...]:
        return ()

    def leave_ending(self) -> None:
        """Go back to the main part: the later stages begin anew once that has ended again. O(tasks)."""
        if not self.ending:
            return
        for name in list(self.graph.endings):
            self._former[name] = self.tasks.pop(name)
            self.dependents.pop(name, None)
        self.graph.endings.clear()
        for queue in self.limits.queues.values():
            queue.ready.clear()
            queue.retries.clear()
        self.ending_counts = dict.fromkeys(TaskStatus, 0)
        self.stage, self.outcome, self.ending_error = Stage.MAIN, "", None
        self.ending = self.aborted = False
        for name, known in self.tasks.items():
            if known.retry_at is not None:
                heapq.heappush(self._queue(known).retries, (known.retry_at, name))
        for name, known in self.tasks.items():
            if known.status is TaskStatus.PENDING and not known.unmet:
                self._make_ready(name)
        self._touched.update(dict.fromkeys(self.groups))

    def failed_endings(self) -> list[TaskId]:
        """Return the tasks of the later stages that failed, or that could not begin because one did."""
        return [name for name in self.graph.endings if self.tasks[name].status in STUCK]
