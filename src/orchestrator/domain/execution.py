"""The fold: what an execution is, computed from its facts and from nothing else.

``ExecutionState.apply`` takes the journal's events one by one. Each costs O(the task's edges), so that a state of
10^5 tasks is kept up to date at the price of the change. Replaying the same events yields the same state on any day.
"""

from __future__ import annotations

import heapq
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.domain.endings import Endings
from orchestrator.domain.events import (
    AFRESH,
    AT_ONCE,
    CONDITION_FALSE,
    UNDONE,
    CancelRequested,
    CheckpointMade,
    DecisionMade,
    DefinitionChanged,
    DefinitionLoaded,
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionForked,
    ExecutionLinked,
    ExecutionStarted,
    ExecutionWaiting,
    ResultSet,
    ResumePlanned,
    SignalReceived,
    StageEntered,
    TaskClaimed,
    TaskCompleted,
    TaskExpanded,
    TaskFailed,
    TaskGathered,
    TaskInterrupted,
    TaskProgressed,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TasksReset,
    TaskTraced,
    TaskWaiting,
    ToolsResolved,
)
from orchestrator.domain.expansion import Graph
from orchestrator.domain.files import Trace
from orchestrator.domain.ids import TaskId
from orchestrator.domain.limits import Queue
from orchestrator.domain.members import Group
from orchestrator.domain.stage import Stage
from orchestrator.domain.tasks import DONE, STUCK, Call, TaskState, TaskStatus
from orchestrator.domain.waits import APPROVAL, Received, SentBack, Waiting, Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.domain.values import ValueRef


__all__ = ["DONE", "STUCK", "ExecutionState", "ExecutionStatus", "TaskState", "TaskStatus"]


class ExecutionStatus(StrEnum):
    """Where an execution is.

    Two are never recorded: ``interrupted`` is how a running one without an owner is shown, ``paused`` how one is that
    somebody keeps from going on.
    """

    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    WAITING = "waiting"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"


_ENDS = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


class ExecutionState(Endings):
    """The state of one execution: the fold of its events over its pipeline.

    ``pipeline`` None is an execution that only a caller's checkpoints know: it has no tasks. ``graph`` holds the tasks
    of the pipeline and those that its containers were expanded to, ``tasks`` what is known of each; ``roots_left`` is
    how many of the pipeline's are not done. ``gatherable`` are containers whose members have all ended.
    ``ready`` holds the tasks that may begin and keep no limits, in the order they became so; ``limits`` has those that
    do, in queues. ``running`` are those claimed and not ended.
    ``wanted`` are the only tasks that this run is about (None: all); ``held`` are those that may begin but for that.
    ``waits`` are those that wait, and the signals that came. ``calls`` are what calls meant last. ``versions`` counts
    the definitions so far; ``definition`` refers to the present one, ``definition_source`` is the file it came from, or
    empty, and ``definition_digest`` that file's. ``forked_from`` is a position of another execution. ``link`` tells
    whose child it is (None: nobody's).

    A DefinitionChanged can be folded once ``offer`` has been given the definition that it speaks of.
    """

    __slots__ = (
        "_offered",
        "began_at",
        "calls",
        "cancel_requested",
        "changed_inputs",
        "context",
        "created_at",
        "definition",
        "definition_digest",
        "definition_source",
        "epoch",
        "error",
        "finished_at",
        "forked_from",
        "held",
        "inputs",
        "link",
        "outputs",
        "owner",
        "pipeline_id",
        "resumed",
        "roots_left",
        "running",
        "seq",
        "status",
        "strategy",
        "updated_at",
        "versions",
        "waits",
    )

    def __init__(self, pipeline: Pipeline | None) -> None:
        tasks = pipeline.tasks if pipeline else {}
        super().__init__(Graph(tasks), pipeline)
        self.pipeline_id = pipeline.id if pipeline else ""
        self.seq = 0
        self.epoch = 0
        self.owner = ""
        self.status = ExecutionStatus.CREATED
        self.resumed = False
        self.cancel_requested: str | None = None
        self.created_at = 0.0
        self.began_at = 0.0
        self.updated_at = 0.0
        self.finished_at: float | None = None
        self.inputs: ValueRef | None = None
        self.outputs: ValueRef | None = None
        self.context: ValueRef | None = None
        self.error: ErrorInfo | None = None
        self.strategy: dict[str, Any] = {}
        self.versions = 1
        self.definition: ValueRef | None = None
        self.definition_source = ""
        self.definition_digest = ""
        self.forked_from = ""
        self.link: ExecutionLinked | None = None
        self.changed_inputs: frozenset[str] = frozenset()
        self.calls: dict[tuple[str, str | None], Call] = {}
        self._offered: dict[bytes, Pipeline] = {}
        self.tasks = {name: TaskState(len(task.needs), limits=task.limits) for name, task in tasks.items()}
        self.roots_left = len(tasks)
        self.dependents = _dependents(tasks)
        for name, task in tasks.items():
            if not task.needs:
                self.limits.queue(task.limits).ready[name] = None
        self.held: dict[TaskId, None] = {}
        self.running: dict[TaskId, None] = {}
        self.waits = Waits()
        self.counts[TaskStatus.PENDING] = len(self.tasks)

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def done_count(self) -> int:
        """How many tasks are completed or skipped."""
        return self.counts[TaskStatus.COMPLETED] + self.counts[TaskStatus.SKIPPED]

    @property
    def complete(self) -> bool:
        """Whether all tasks of the pipeline are done."""
        return not self.roots_left

    @property
    def finished(self) -> bool:
        """Whether the present owner's run has ended (well or not)."""
        return self.finished_at is not None

    @property
    def ended(self) -> bool:
        """Whether nothing is left of the last run: it has ended well, badly or by a cancel, its later stages too."""
        return self.status in _ENDS

    def overdue(self, now: float) -> bool:
        """Tell whether the main part of this run takes longer than the pipeline allows."""
        timeout = self.pipeline.timeout if self.pipeline is not None else None
        return timeout is not None and not self.ending and now >= self.began_at + timeout

    def next_retry_at(self) -> float | None:
        """Return when the earliest waiting retry is due, or None; its limits may let it begin later."""
        return min(
            (found[0] for queue in self.limits.queues.values() if (found := self.next_retry(queue))), default=None
        )

    def has_more(self) -> bool:
        """Tell whether something may begin, now or later, without anything else having to happen."""
        return any(queue.ready or self.next_retry(queue) for queue in self.limits.queues.values())

    def next_retry(self, queue: Queue) -> tuple[float, TaskId] | None:
        """Return when the earliest retry of a queue is due, and its task; None without any."""
        return queue.next_retry(self._waits) if queue.retries else None

    def _waits(self, entry: tuple[float, TaskId]) -> bool:
        task = self.tasks.get(entry[1])
        if task is None or task.ending is not self.ending:
            return False
        return task.status is TaskStatus.RETRYING and task.retry_at == entry[0]

    def blocked(self) -> set[TaskId]:
        """Return the pending tasks that cannot begin because something they need is stuck. O(tasks + edges).

        Those in a container that was halted are among them.
        """
        blocked: set[TaskId] = set()
        stack = [name for name, task in self.tasks.items() if task.status in STUCK]
        while stack:
            stuck = stack.pop()
            group = self.groups.get(stuck)
            for name in (*self.dependents.get(stuck, ()), *(group.members if group is not None else ())):
                if name not in blocked and self.tasks[name].status is TaskStatus.PENDING:
                    blocked.add(name)
                    stack.append(name)
        return blocked

    # -- folding -------------------------------------------------------------------------------------------------

    def offer(self, definition: ValueRef, pipeline: Pipeline) -> None:
        """Give the pipeline that a DefinitionChanged to come refers to."""
        self._offered[definition.data] = pipeline

    def apply(self, event: Event) -> None:
        """Fold one fact in: O(edges of the task it is about)."""
        self.seq += 1
        self.updated_at = event[0]
        self._APPLY[type(event)](self, event)
        if self._touched:
            self._settle()

    def apply_all(self, events: Iterable[Event]) -> None:
        """Fold many facts in, in order."""
        for event in events:
            self.apply(event)

    def _set(self, task: TaskState, status: TaskStatus) -> None:
        counts, old = self.ending_counts if task.ending else self.counts, task.status
        counts[old] -= 1
        counts[status] += 1
        task.status = status
        task.seq = self.seq
        if task.within is not None:
            self._moved(task, old, status)
        elif (status in DONE) is not (old in DONE) and not task.ending:
            self.roots_left += -1 if status in DONE else 1

    def _satisfy(self, name: TaskId) -> None:
        tasks = self.tasks
        for dependent in self.dependents.get(name, ()):
            task = tasks[dependent]
            task.unmet -= 1
            if not task.unmet and task.status is TaskStatus.PENDING:
                self._make_ready(dependent)

    def _unsatisfy(self, name: TaskId) -> None:
        for dependent in self.dependents.get(name, ()):
            task = self.tasks[dependent]
            task.unmet += 1
            if task.status is TaskStatus.EXPANDED:
                self._set(task, TaskStatus.PENDING)
                self._close(dependent)
            elif task.status is TaskStatus.WAITING:
                self._set(task, TaskStatus.PENDING)
            self._unready(dependent)

    def _make_ready(self, name: TaskId) -> None:
        task = self.tasks[name]
        if task.ending is not self.ending or (task.within is not None and not self._may_begin(task)):
            return
        if self.wanted is None or self.is_wanted(name):
            (self._queue(task).ready if task.limits else self.ready)[name] = None
            if self.stage is Stage.UNDO:
                self.ready.move_to_end(name, last=False)  # what is begun is ended before the next step is undone
            if task.within is not None:
                self._count_active(task, active=True)
        else:
            self.held[name] = None

    def _unready(self, name: TaskId) -> None:
        task = self.tasks[name]
        (self._queue(task).ready if task.limits else self.ready).pop(name, None)
        if self.held:
            self.held.pop(name, None)
        if self.waits.tasks:
            self.waits.end(name)
        if task.active:
            self._count_active(task, active=False)

    def _run(self, name: TaskId, at: float) -> None:
        """Count a task among those that run."""
        self.running[name] = None
        task = self.tasks[name]
        if task.limits:
            for gate in self._queue(task).gates:
                gate.claim(at)

    def _stop(self, name: TaskId) -> None:
        """Count a task among those that run no more, if it was."""
        if name in self.running:
            del self.running[name]
            task = self.tasks[name]
            if task.limits:
                for gate in self._queue(task).gates:
                    gate.release()

    def _make_pending(self, name: TaskId, task: TaskState) -> None:
        self._stop(name)
        self.waits.end(name)
        self._set(task, TaskStatus.PENDING)
        task.retry_at = None
        self._close(name)
        if task.within is not None:
            self._reopen(task.within)
        if not task.unmet:
            self._make_ready(name)
        ready = self._queue(task).ready if task.limits else self.ready
        if task.active and name not in ready:  # it was at work, and the container lets nothing begin just now
            self._count_active(task, active=False)

    def _created(self, event: ExecutionCreated) -> None:
        self.created_at = event.at
        self.inputs = event.inputs
        self.pipeline_id = event.pipeline_id
        self.total = event.total
        self.definition = event.definition

    def _started(self, event: ExecutionStarted) -> None:
        if self.ended:
            self.leave_ending()
        self.began_at = event.at
        self.aborted = False
        self.status = ExecutionStatus.RUNNING
        self.epoch = event.epoch
        self.owner = event.owner
        self.resumed = event.resumed
        self.strategy = event.strategy
        if not self.ending:
            self.cancel_requested = None
        self.finished_at = None
        self.error = None
        self.limits.set_clock(event.at)
        self._want(None)

    def _held_back(self) -> tuple[TaskId, ...]:
        return tuple(self.held)

    def _want(self, wanted: frozenset[TaskId] | None) -> None:
        """Have only these tasks begin from here on; None: all."""
        if wanted == self.wanted:
            return
        self.wanted = wanted
        open_ = [*self._all_ready(), *self.held]
        for name in open_:
            self._unready(name)
        for name in open_:
            self._make_ready(name)
        self._touched.update(dict.fromkeys(self.groups))

    def _call(self, name: TaskId) -> Call | None:
        """Return what the task's call means just now, as recorded."""
        if self.pipeline is None:
            return None
        task = self.graph.template(name)
        return self.calls.get((task.tool, task.action))

    def _claimed(self, event: TaskClaimed) -> None:
        name = event.task
        task = self.tasks[name]
        # Not by _unready: in its container it stays among those at work.
        (self._queue(task).ready if task.limits else self.ready).pop(name, None)
        self.held.pop(name, None)
        self._run(name, event.at)
        self._set(task, TaskStatus.RUNNING)
        if task.anew or task.kept is not None or self._given_else(name, task, event):
            task.generation += 1
            task.anew = False
        task.attempt = event.attempt
        self._begin(name, task, event.at, event.parameters)

    def _begin(self, name: TaskId, task: TaskState, at: float, parameters: ValueRef | bytes | None) -> None:
        """Note what an attempt begins with, or a wait."""
        if task.tries_epoch != self.epoch:
            task.tries_epoch = self.epoch
            task.tries = 0
        task.tries += 1
        task.retry_at = None
        task.started_at = at
        task.ended_at = None
        task.progress = None
        task.parameters = parameters
        task.call = self._call(name)
        if task.kept is not None:
            task.failures = task.crashes = 0  # they were of the result that is given up now
        task.trace = task.under = task.kept = None
        task.source = task.pinned = ""
        task.stale = False

    def _given_else(self, name: TaskId, task: TaskState, event: TaskClaimed) -> bool:
        """Tell whether an attempt is given something else than the one before it."""
        if event.parameters != task.parameters:
            return True
        if task.under is None or self.pipeline is None:
            return False
        return event.parameters is None and task.under.parameters != self.graph[name].parameters

    def _completed(self, event: TaskCompleted) -> None:
        name = event.task
        task = self.tasks[name]
        if task.status in DONE:
            raise ValueError(f"{name} is done twice")
        self._end(name, task, TaskStatus.COMPLETED, event.at)
        task.attempt = task.completed_attempt = event.attempt
        task.value = event.value
        self._satisfy(name)

    def _end(self, name: TaskId, task: TaskState, status: TaskStatus, at: float) -> None:
        self._stop(name)
        self._unready(name)
        self._set(task, status)
        task.ended_at = at
        task.retry_at = None
        task.error = task.saved = task.saved_under = task.kept = None
        if task.within is not None:
            self._reopen(task.within, done=False)

    def _failed(self, event: TaskFailed) -> None:
        name = event.task
        task = self.tasks[name]
        self._stop(name)
        self._unready(name)
        task.attempt = event.attempt
        task.error = event.error
        task.ended_at = event.at
        if event.crashed:
            task.crashes += 1
        else:
            task.failures += 1
        if event.retry_at is not None:
            task.retry_at = event.retry_at
            self._set(task, TaskStatus.RETRYING)
            heapq.heappush(self._queue(task).retries, (event.retry_at, name))
        else:
            self._set(task, TaskStatus.PARKED if event.parked else TaskStatus.FAILED)
        self.gatherable.pop(name, None)

    def _interrupted(self, event: TaskInterrupted) -> None:
        task = self.tasks[event.task]
        task.ended_at = event.at
        if event.outcome == "rerun":
            self._make_pending(event.task, task)
            return
        self._stop(event.task)
        task.error = ErrorInfo("interrupted", event.reason)
        if event.outcome == "fail":
            task.failures += 1
            self._set(task, TaskStatus.FAILED)
        else:
            self._set(task, TaskStatus.IN_DOUBT)

    def _skipped(self, event: TaskSkipped) -> None:
        task = self.tasks[event.task]
        if task.status in DONE:
            raise ValueError(f"{event.task} is done twice")
        self._end(event.task, task, TaskStatus.SKIPPED, event.at)
        self._empty(event.task)
        task.value = task.parameters = task.call = task.trace = task.under = None
        task.stale = False
        task.source = ""
        task.pinned = "" if event.reason.startswith(CONDITION_FALSE) else event.reason
        self._satisfy(event.task)

    def _outer_first(self, names: list[TaskId]) -> list[TaskId]:
        """Return the tasks such that a container is before what is in it, which would let it go on."""
        return sorted(names, key=self._depth) if self.groups else names

    def _depth(self, name: TaskId) -> int:
        depth, within = 0, self.tasks[name].within
        while within is not None:
            depth, within = depth + 1, self.tasks[within].within
        return depth

    def _reset(self, event: TasksReset) -> None:
        for name in self._outer_first(event.tasks):
            task = self.tasks[name]
            if task.status in DONE or task.kept is not None or event.reason in AFRESH:
                task.anew = True
            if task.status in DONE:
                # What it had saved belongs to the run that is being undone.
                task.value = task.saved = task.saved_under = task.progress = None
                self._unsatisfy(name)
            task.kept = None
            task.pinned = ""
            if event.reason == UNDONE:
                task.life += 1
                task.undone = task.attempt
            if event.forgive:
                task.failures = task.crashes = 0
            retried = task.status in STUCK and not event.forgive
            if retried and name in self.groups and not self.groups[name].closed:
                self._reopen(name)  # its members are what is to be tried again
            else:
                self._make_pending(name, task)

    def _progressed(self, event: TaskProgressed) -> None:
        task = self.tasks[event.task]
        task.progress = (event.done, event.total, event.message)
        if event.saved is not None:
            task.saved = event.saved
            task.saved_under = None

    def _checkpoint(self, event: CheckpointMade) -> None:
        if event.reason in ("manual", "periodic") and event.state is not None:
            self.context = event.state

    def _cancel(self, event: CancelRequested) -> None:
        self.aborted = self.aborted or event.by.endswith(AT_ONCE)
        self.cancel_requested = event.by

    def _finished(self, event: ExecutionFinished) -> None:
        self.status = ExecutionStatus(event.status)
        self.finished_at = event.at
        self.outputs = event.outputs
        self.error = event.error

    # -- containers ----------------------------------------------------------------------------------------------

    def _expanded(self, event: TaskExpanded) -> None:
        task = self.tasks[event.task]
        self._unready(event.task)
        if task.kept is not None:
            task.failures = task.crashes = 0
        task.kept = task.under = None
        task.stale = False
        task.started_at, task.ended_at = task.started_at or event.at, None
        task.pinned = ""
        self._expand(event)

    def _gathered(self, event: TaskGathered) -> None:
        name = event.task
        task = self.tasks[name]
        if task.status in DONE:
            raise ValueError(f"{name} is done twice")
        for gone in self.graph.trim(name):
            self._forget(gone)
        self.gatherable.pop(name, None)
        self._end(name, task, TaskStatus.COMPLETED, event.at)
        self._satisfy(name)

    def _decided(self, event: DecisionMade) -> None:
        """Take note of what becomes of a signal; what follows from any other decision is a fact of its own."""
        if event.kind in ("signal", "send_back"):
            self.waits.take(event.reads["signal"])
        if event.kind == "send_back":
            step = TaskId(event.reads["step"])
            self.waits.rewinds[event.task] = step
            self.tasks[step].sent_back = SentBack(
                event.task, event.reads["by"], event.value, event.reads["at"], event.round
            )

    # -- waiting -------------------------------------------------------------------------------------------------

    def _entered(self, event: StageEntered) -> None:
        for name in list(self.waits.tasks):  # nobody is waited for any more, until the main part goes on
            self.waits.end(name)
            self._set(self.tasks[name], TaskStatus.PENDING)
        self.enter(event)

    def _signalled(self, event: SignalReceived) -> None:
        self.waits.receive(Received(event.id, event.name, event.payload, event.by, event.sent_at))

    def _wait_began(self, event: TaskWaiting) -> None:
        name = event.task
        task = self.tasks[name]
        self._unready(name)
        self._set(task, TaskStatus.WAITING)
        task.attempt = event.attempt
        # As of any other step, so that it can be weighed: large ones by their digest.
        self._begin(name, task, event.at, event.parameters if event.parameters.inline else event.parameters.data)
        task.wait = Waiting(event.kind, event.name, event.until, event.text, event.parameters)
        self.waits.begin(name, task.wait)

    def _waiting(self, event: ExecutionWaiting) -> None:
        self.status = ExecutionStatus.WAITING
        self.finished_at = event.at

    # -- plans, edits and results from elsewhere -----------------------------------------------------------------

    def _resolved(self, event: ToolsResolved) -> None:
        for tool, action, version, code in event.calls:
            self.calls[tool, action] = Call(version, code)

    def _traced(self, event: TaskTraced) -> None:
        self.tasks[event.task].trace = Trace(tuple(event.reads), tuple(event.writes), event.inputs)

    def _invalidated(self, event: TasksInvalidated) -> None:
        for name in self._outer_first(event.tasks):
            task = self.tasks[name]
            if task.status in DONE:
                prior = task.prior
                task.value = task.progress = None
                self._unsatisfy(name)
                self._make_pending(name, task)
                task.kept = prior
            elif task.status is TaskStatus.EXPANDED:  # by a task in it that an earlier fact has named
                self._make_pending(name, task)

    def _reused(self, event: TaskReused) -> None:
        task = self.tasks[event.task]
        if task.status in DONE:
            raise ValueError(f"{event.task} is done twice")
        kept = task.kept
        if kept is None:
            task.stale, task.under = bool(self.changed_inputs), None
        self._end(event.task, task, TaskStatus.COMPLETED, event.at)
        task.value = event.value
        task.parameters = event.parameters
        task.call = self._call(event.task)
        task.source = event.source
        if kept is not None:
            # It was made then, and is only found to be good still: what came in between did so after it.
            task.call, task.trace, task.source, task.seq = kept.call, kept.trace, kept.source, kept.seq
        task.pinned = ""
        self._satisfy(event.task)

    def _result_set(self, event: ResultSet) -> None:
        task = self.tasks[event.task]
        if task.status in DONE:
            self._unsatisfy(event.task)
        self._end(event.task, task, TaskStatus.COMPLETED, event.at)
        task.value = event.value
        task.parameters = task.call = task.trace = task.under = None
        task.stale = False
        task.source = ""
        task.pinned = f"given by {event.by}"
        self._satisfy(event.task)

    def _redefined(self, event: DefinitionChanged) -> None:
        """Go over to another definition: what is known of a task goes with it, under its new name if it has one.

        O(the new definition): nothing runs just now.
        """
        before, after = self.pipeline, self._offered[event.definition.data]
        if before is None:
            raise ValueError("an execution without a definition cannot have another one")
        graph, former = self.graph.carried_over(after.tasks, event.renamed)
        found: dict[TaskId, TaskState] = {}
        for name in graph:
            old = former.get(name, name)
            task = found[name] = self.tasks.get(old) or TaskState(0, graph[name].within, graph[name].index)
            task.within = graph[name].within  # which may be called otherwise now
            if old in self.graph:
                _carry_over(task, self.graph[old], graph[name], inputs_differ=event.inputs != self.inputs)
        self._regroup(graph, {name: self.groups[former.get(name, name)] for name in graph.expansions})
        self.pipeline = after
        self.versions += 1
        self.total = event.total
        self.definition = event.definition
        self.definition_source, self.definition_digest = event.source, ""
        self.inputs = event.inputs
        self.tasks = found
        self.dependents = _dependents(graph)
        self.limits = self.limits.redefined(after.limits)
        self.ready = self.limits.unlimited.ready
        self.held.clear()
        self.running.clear()
        self.counts = dict.fromkeys(TaskStatus, 0)
        self.roots_left = sum(found[name].status not in DONE for name in after.tasks)
        for task in found.values():
            self._recount(task)
        self._requeue()

    def _requeue(self) -> None:
        """Put all tasks where they wait: for what they need, a time, a signal, or to begin."""
        self.waits.clear()
        for name, task in self.tasks.items():
            task.limits = self.graph[name].limits
            task.unmet = self._unmet(name)
            if task.retry_at is not None:
                heapq.heappush(self._queue(task).retries, (task.retry_at, name))
            if task.status is TaskStatus.WAITING and task.wait is not None:
                if task.wait.kind == APPROVAL:
                    task.wait = task.wait._replace(name=name)
                self.waits.begin(name, task.wait)
        for name, task in self.tasks.items():
            if not task.unmet and task.status is TaskStatus.PENDING:
                self._make_ready(name)

    def _regroup(self, graph: Graph, groups: Mapping[TaskId, Group]) -> None:
        """Go over to another graph, with the groups that its containers had; their members are counted anew."""
        self.graph, self.groups = graph, {}
        self.gatherable.clear()
        for name, old in groups.items():
            expansion = graph.expansions[name]
            group = self._new_group(graph[name], name, expansion.branch)
            group.admitted, group.closed, group.halted = old.admitted, old.closed, old.halted
            for key in expansion.keys:
                group.members += graph.members(name, key, expansion.branch)
                group.busy.append(0)
                group.stuck.append(0)
            self._set_tolerated(group, graph[name])
            self._touched[name] = None

    def _recount(self, task: TaskState) -> None:
        """Count a task in the graph gone over to; a done container that has a new member is at work again."""
        self.counts[task.status] += 1
        task.active = False
        if task.within is not None:
            self._moved(task, TaskStatus.PENDING, task.status)
            if task.status is TaskStatus.PENDING and task.item < self.groups[task.within].count:
                self._wake(task.within)

    def _wake(self, name: TaskId) -> None:
        task = self.tasks[name]
        if task.status is TaskStatus.COMPLETED and not self.groups[name].closed:
            task.value = None
            self._set(task, TaskStatus.EXPANDED)
            if task.within is not None:
                self._wake(task.within)

    def _planned(self, event: ResumePlanned) -> None:
        self._want(None if event.until is None else frozenset(event.until))

    def _loaded(self, event: DefinitionLoaded) -> None:
        self.definition_source = event.source
        self.definition_digest = event.digest

    def _forked(self, event: ExecutionForked) -> None:
        self.forked_from = event.source
        self.changed_inputs = frozenset(event.inputs)

    def _linked(self, event: ExecutionLinked) -> None:
        self.link = event

    _APPLY: ClassVar[dict[type, Callable[[ExecutionState, Any], None]]] = {
        ExecutionCreated: _created,
        ExecutionStarted: _started,
        TaskClaimed: _claimed,
        TaskCompleted: _completed,
        TaskFailed: _failed,
        TaskInterrupted: _interrupted,
        TaskSkipped: _skipped,
        TasksReset: _reset,
        TaskProgressed: _progressed,
        CheckpointMade: _checkpoint,
        CancelRequested: _cancel,
        ExecutionFinished: _finished,
        ToolsResolved: _resolved,
        TaskTraced: _traced,
        TaskReused: _reused,
        TasksInvalidated: _invalidated,
        ResultSet: _result_set,
        DefinitionChanged: _redefined,
        ResumePlanned: _planned,
        DefinitionLoaded: _loaded,
        ExecutionForked: _forked,
        DecisionMade: _decided,
        TaskExpanded: _expanded,
        TaskGathered: _gathered,
        ExecutionWaiting: _waiting,
        StageEntered: _entered,
        SignalReceived: _signalled,
        TaskWaiting: _wait_began,
        ExecutionLinked: _linked,
    }


def _dependents(tasks: Mapping[TaskId, Task]) -> dict[TaskId, list[TaskId]]:
    found: dict[TaskId, list[TaskId]] = {}
    for name, task in tasks.items():
        for need in task.needs:
            found.setdefault(need, []).append(name)
    return found


def _carry_over(task: TaskState, before: Task, after: Task, *, inputs_differ: bool) -> None:
    """Note on a task what its result and its saved state were made under, where that is not what holds now."""
    if before is not after and before != after:
        if task.under is None and (task.attempt or task.status in DONE):
            task.under = before
        if task.saved_under is None and task.saved is not None:
            task.saved_under = before
    if inputs_differ:
        task.stale = True
