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

    ``renamed`` maps tasks of an edited one that go on with what another one had to the id of that.
    """

    def __init__(self, state: ExecutionState, pipeline: Pipeline) -> None:
        self._states = state.tasks
        self._tasks = state.pipeline.tasks if state.pipeline is not None else {}
        self.renamed: dict[TaskId, TaskId] = {}
        if state.pipeline is not None and pipeline is not state.pipeline:
            for name, task in pipeline.tasks.items():
                was = former(task, state.pipeline)
                if was is not None and was != name:
                    self.renamed[name] = was

    def name(self, name: TaskId) -> TaskId:
        """Return the id that a task has in the journal so far."""
        return self.renamed.get(name, name)

    def state(self, name: TaskId) -> TaskState | None:
        """Return what is known of a task; None for one that is new."""
        return self._states.get(self.renamed.get(name, name))

    def before(self, task: Task, known: TaskState) -> Task:
        """Return a task as it was when what is ``known`` of it was recorded."""
        return known.under or self._tasks.get(self.renamed.get(task.id, task.id)) or task
