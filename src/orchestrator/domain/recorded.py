"""What is recorded of the tasks of a pipeline that an execution is to go on with, whatever they were called before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.revision import former

if TYPE_CHECKING:
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.domain.tasks import TaskState


class Recorded:
    """What a state knows of each task of ``pipeline``: the state's own definition, or an edited one.

    ``renamed`` maps steps of an edited one that go on with what another one had to the id of that. ``graph`` are its
    tasks, with those that its containers were expanded to.
    """

    def __init__(self, state: ExecutionState, pipeline: Pipeline) -> None:
        self._states = state.tasks
        self._before = state.graph
        self.graph = state.graph
        self.renamed: dict[TaskId, TaskId] = {}
        self._former: dict[TaskId, TaskId] = {}
        if state.pipeline is not None and pipeline is not state.pipeline:
            for name, task in pipeline.tasks.items():
                was = former(task, state.pipeline)
                if was is not None and was != name:
                    self.renamed[name] = was
            self.graph, self._former = state.graph.carried_over(pipeline.tasks, self.renamed)

    def name(self, name: TaskId) -> TaskId:
        """Return the id that a task has in the journal so far."""
        return self._former.get(name, name)

    def state(self, name: TaskId) -> TaskState | None:
        """Return what is known of a task; None for one that is new."""
        return self._states.get(self._former.get(name, name))

    def before(self, task: Task, known: TaskState) -> Task:
        """Return a task as it was when what is ``known`` of it was recorded."""
        if known.under is not None:
            return known.under
        was = self._former.get(task.id, task.id)
        return self._before.get(was, task)
