"""How a plan is made: a pure function of the definition, the state, what was asked for and what was found outside.

The tasks are judged in the order of their needs, so that each knows what will become of what it reads.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from orchestrator.domain.anew import Containers
from orchestrator.domain.changes import shown
from orchestrator.domain.events import (
    AFTER_ASKED_FOR,
    AFTER_CHECKPOINT,
    ASKED_FOR,
    CONDITION_FALSE,
    PROCESS_ENDED,
    DefinitionChanged,
    DefinitionLoaded,
    Event,
    ResultSet,
    TaskInterrupted,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TasksReset,
)
from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus, TaskState, TaskStatus
from orchestrator.domain.expansion import read_by
from orchestrator.domain.fingerprint import Component, Present, call_changes, files_of, weigh
from orchestrator.domain.ids import TaskId, checkpoint_id
from orchestrator.domain.order import in_order, needed_for
from orchestrator.domain.pipeline import OnChange, OnInterrupted
from orchestrator.domain.plan import NOTHING, Decision, Evidence, Plan, PlanRequest, Source, Verb
from orchestrator.domain.recorded import Recorded
from orchestrator.domain.retry import CRASH_LIMIT, failure_limit, is_exhausted
from orchestrator.domain.revision import called_alike, changed_parts
from orchestrator.domain.stage import STAGES, Stage
from orchestrator.domain.tasks import Call, Prior
from orchestrator.domain.waits import APPROVAL
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import NoCheckpoint, PipelineChanged, ResumeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.domain.files import FileSeen
    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.domain.strategy import ResumeStrategy

_FRESH = TaskState(0)
_RUNS = frozenset({Verb.RUN, Verb.RERUN})
_SHOWN = 3
"""How many components a reason names; the decision has them all."""


def plan(pipeline: Pipeline, state: ExecutionState, request: PlanRequest, evidence: Evidence, now: float) -> Plan:
    """Return what a resume does with each task, and why. O(tasks + edges).

    ``pipeline`` is the one to go on with: the state's own, or that of ``request.revision``. Raises ResumeError when the
    request names a task that does not exist or cannot be treated so, NoCheckpoint for a position after the journal's
    end, PipelineChanged where a changed task says ``on_change: fail``.
    """
    return _Planner(pipeline, state, request, evidence, now).plan()


def inputs_differ(state: ExecutionState, request: PlanRequest) -> bool:
    """Tell whether the execution's inputs will be other ones under what was asked for."""
    return request.revision is not None and request.revision.inputs.ref != state.inputs


def attempted(known: TaskState) -> Prior | None:
    """Return what a failed task was given last, to be weighed like a result; None for any other."""
    if known.status not in (TaskStatus.FAILED, TaskStatus.PARKED):
        return None
    return Prior(TaskStatus.COMPLETED, None, known.parameters, known.call, known.trace, known.seq, "")


class _Planner:
    """One plan in the making."""

    def __init__(
        self, pipeline: Pipeline, state: ExecutionState, request: PlanRequest, evidence: Evidence, now: float
    ) -> None:
        self.pipeline = pipeline
        self.state = state
        self.request = request
        self.evidence = evidence
        self.now = now
        self.strategy: ResumeStrategy = request.strategy or pipeline.resume
        self.recorded = Recorded(state, pipeline)
        self.graph = self.recorded.graph
        self.decisions: dict[TaskId, Decision] = {}
        self.interrupted: list[Event] = []
        self.events: list[Event] = []
        self.resets: dict[tuple[str, bool], list[TaskId]] = {}
        self.invalid: dict[str, list[TaskId]] = {}
        self.open: set[TaskId] = set()
        """Tasks whose value may be another one afterwards."""
        self.stuck: set[TaskId] = set()
        self.forced: set[TaskId] = set()
        self.refused: list[str] = []
        self.other_inputs = inputs_differ(state, request)
        self.containers = Containers(self.recorded, other_inputs=self.other_inputs)
        self.around: dict[TaskId, bool] = {}
        self.revived = self._revived()
        self.latest: dict[str, tuple[int, FileSeen]] | None = None
        self.rewritten: dict[str, TaskId] = {}
        self.call_changes: dict[int, tuple[tuple[Component, ...], str]] = {}

    def plan(self) -> Plan:
        self._check()
        if self.state.ending and not self.state.ended:
            return self._plan_of_ending()
        graph, states = self.graph, self.state.tasks
        plain = self._asks_of_no_task()
        same = {id(call) for call in self.evidence.calls.values()}
        for name in in_order(graph):
            task = graph[name]
            decision = self._plainly(task, states[name], same) if plain else None
            if decision is None:
                self._task(task)
            else:
                self.decisions[name] = decision
        if self.refused:
            raise PipelineChanged(
                "the plan was refused: on_change is `fail`, and these finished steps have changed:\n"
                + "\n".join(f"  {line}" for line in self.refused)
                + "\nRun them again with --on-change rerun or --rerun STEP, or keep them with --on-change keep"
            )
        until = None
        if self.request.until is not None:
            until = frozenset(needed_for(graph, TaskId(self.request.until)))
        decisions = [self.decisions[name] for name in graph if name not in graph.endings]
        if until is not None:
            decisions = [_unwanted(each, self.request.until) if each.task not in until else each for each in decisions]
        later: list[Decision] = []
        recorded = self.events or self.resets or self.invalid or self.state.status is not ExecutionStatus.COMPLETED
        if recorded or any(each.verb not in NOTHING for each in decisions):
            later = _later(self.pipeline)
        return self._plan(decisions, until, later)

    def _plan_of_ending(self) -> Plan:
        """Return the plan of an execution that was cut off in a later stage: it goes on in that."""
        decisions = []
        for name, task in self.graph.items():
            known = self.state.tasks[name]
            if task.stage is not Stage.MAIN:
                self._task(task)
                decisions.append(self.decisions[name])
            elif known.status in DONE:
                decisions.append(Decision(name, Verb.REUSE, _since(known.prior) if known.prior is not None else ""))
            else:
                decisions.append(Decision(name, Verb.WAIT, f"the run has {self.state.outcome}, and is at its end"))
        return self._plan(decisions, None, _later(self.pipeline, self.state.stage, self.state.outcome))

    def _plan(self, decisions: list[Decision], until: frozenset[TaskId] | None, later: list[Decision]) -> Plan:
        revision = self.request.revision
        definition = self.state.definition if revision is None else revision.definition.ref
        carried_over = {self.recorded.name(name) for name in self.graph}
        removed = {
            name: task for name, task in self.state.tasks.items() if name not in carried_over and not task.ending
        }
        return Plan(
            (*decisions, *later),
            tuple(self._facts(removed)),
            tuple((name, task.status.value) for name, task in removed.items()),
            until,
            revision.changed_inputs if revision is not None else (),
            definition.data if definition is not None else b"",
            Source(self.state.definition_source, self.state.definition_digest) if revision is None else revision.source,
            self.pipeline.id,
            len(later),
            self.graph,
        )

    def _facts(self, removed: Mapping[TaskId, TaskState]) -> list[Event]:
        """Return the facts that carry the plan out, in the order in which they can be folded."""
        facts = list(self.interrupted)
        facts += [
            TaskInterrupted(self.now, name, removed[name].attempt, OnInterrupted.RERUN.value, PROCESS_ENDED)
            for name in self.state.running
            if name in removed
        ]
        revision = self.request.revision
        if revision is not None:
            definition, inputs = revision.definition.ref, revision.inputs.ref
            renamed = {str(new): str(old) for new, old in self.recorded.renamed.items()}
            total = len(self.graph)
            facts.append(
                DefinitionChanged(self.now, definition, inputs, total, renamed, revision.source.path, self.request.by)
            )
            if revision.source.path:
                facts.append(DefinitionLoaded(self.now, *revision.source))
        facts += self.events
        facts += [TasksReset(self.now, names, reason, forgive) for (reason, forgive), names in self.resets.items()]
        return facts + [TasksInvalidated(self.now, names, reason) for reason, names in self.invalid.items()]

    # -- what was asked for --------------------------------------------------------------------------------------

    def _check(self) -> None:
        request, state = self.request, self.state
        if request.from_seq is not None and not 0 < request.from_seq <= state.seq:
            raise NoCheckpoint(
                f"No resume checkpoint found: no position {request.from_seq}: the journal has {state.seq} facts"
            )
        named = request.retry | request.skip | request.rerun | set(request.results)
        if request.until is not None:
            named |= {request.until}
        self._check_stage(named)
        for name in sorted(named):
            if name not in self.graph or (name in self.graph.endings and state.ended):
                hint = did_you_mean(name, self.graph)
                raise ResumeError(f"no step named {name!r} in this pipeline{f'; {hint}' if hint else ''}")
        for name in sorted(request.retry | request.skip):
            known = self._known(TaskId(name))
            if known.status in DONE:
                raise ResumeError(
                    f"step {name!r} is {known.status.value}: there is nothing to retry or to skip; "
                    f"to run it again: --rerun {name}"
                )
        groups = (
            ("retried", request.retry),
            ("skipped", request.skip),
            ("run again", request.rerun),
            ("given a result", frozenset(request.results)),
        )
        for number, (one, those) in enumerate(groups):
            for other, these in groups[number + 1 :]:
                if both := those & these:
                    raise ResumeError(f"step {min(both)!r} cannot be both {one} and {other}")

    def _check_stage(self, named: frozenset[str]) -> None:
        """Refuse what is about the main part while a later stage is under way."""
        request = self.request
        if self.state.ended or not self.state.ending:
            return
        other = request.revision is not None or request.from_seq is not None or request.results or request.until
        if other or not named <= set(self.graph.endings):
            raise ResumeError(
                f"the run was cut off in its stage {self.state.stage.value!r}: resume it first, without an edit and "
                "without naming a step of the main part, and once it has ended, again with that; "
                "to leave out a step of this stage: --skip STEP"
            )

    def _known(self, name: TaskId) -> TaskState:
        return self.recorded.state(name) or _FRESH

    # -- a task --------------------------------------------------------------------------------------------------

    def _asks_of_no_task(self) -> bool:
        """Tell whether this is a resume of what is recorded, in which nothing is asked of any single task."""
        asked = self.request
        named = asked.skip or asked.results or asked.rerun or asked.retry
        usual = asked.revision is None and asked.from_seq is None and self.strategy.preserve_completed_tasks
        return usual and not named

    def _plainly(self, task: Task, known: TaskState, same: set[int]) -> Decision | None:
        """Decide about a task to which nothing has happened: done as it would be done now, or not begun.

        The same as ``_judge`` says of it, at a fraction of the cost: most tasks of a large resume are of this kind.
        ``same`` are the ids of the calls that mean what they meant.
        """
        if known.kept is not None or known.trace is not None or task.control is not None:
            return None
        if self._is_in_question(task):
            return None
        if known.status is not TaskStatus.COMPLETED and task.within is not None and self._left(task) is not None:
            return None
        if known.status is TaskStatus.COMPLETED:
            if known.under is not None or known.stale or known.pinned or known.source or (self.open and task.reads):
                return None
            if known.call is not None and id(known.call) not in same:
                return self._plainly_kept(task, known.call)
            return Decision(task.id, Verb.REUSE, f"completed at seq {known.seq}")
        if known.status is TaskStatus.PENDING and not known.attempt and not self.stuck:
            self.open.add(task.id)
            return Decision(task.id, Verb.RUN, "not run yet")
        return None

    def _is_in_question(self, task: Task) -> bool:
        """Tell whether what is given to a task may be another thing, since a container around it is looked at anew."""
        return self.containers.in_question(task) or (task.within is not None and self._reads_open(task.within))

    def _reads_open(self, name: TaskId) -> bool:
        """Tell whether a container, or one around it, is made of what may be another value; asked after its needs."""
        found = self.around.get(name)
        if found is None:
            task = self.graph[name]
            outside = task.within is not None and self._reads_open(task.within)
            found = self.around[name] = outside or self._open_need(task) is not None
        return found

    def _plainly_kept(self, task: Task, call: Call) -> Decision | None:
        """Tell of a task whose call means something else by now, as ``_judge_prior`` does; worked out once a call."""
        now = self.evidence.calls.get((task.tool, task.action))
        if task.on_change is not None or self.request.on_change is not None or self.request.follow or now is None:
            return None
        if id(call) not in self.call_changes:
            changes = tuple(call_changes(call, now))
            self.call_changes[id(call)] = changes, _summary(changes)
        changes, summary = self.call_changes[id(call)]
        if not changes:
            return None
        why = f"kept, though {summary} (run it again with --rerun {task.id})"
        return Decision(task.id, Verb.REUSE, why, changes)

    def _revived(self) -> frozenset[tuple[TaskId, int]]:
        """Return the items (container, place) in which something was asked for by name."""
        request = self.request
        found = set()
        for name in (*request.rerun, *request.retry, *request.results):
            task = self.graph.get(TaskId(name))
            while task is not None and task.within is not None:
                found.add((task.within, task.index))
                task = self.graph[task.within]
        return frozenset(found)

    def _left(self, task: Task) -> Decision | None:
        """Leave out what belongs to a failed item of a container that is done without it; None for any other task.

        Under an edit, and where files and code are followed, such items are judged like any failed step.
        """
        request = self.request
        if request.revision is not None or request.from_seq is not None or request.follow or task.id in request.skip:
            return None
        inner = task
        while inner.within is not None:
            name = inner.within
            if name in request.rerun or self.containers.begins_anew(name) or self._reads_open(name):
                return None
            if self._known(name).status is TaskStatus.COMPLETED:
                if (name, inner.index) in self.revived:
                    return None
                return Decision(
                    task.id, Verb.SKIP, f"{name} is done without {inner.id} (try it again: --rerun {quote(task.id)})"
                )
            inner = self.graph[name]
        return None

    def _task(self, task: Task) -> None:
        name = task.id
        known = self._known(name)
        if task.within is not None and known.status not in DONE and known.prior is None:
            left = self._left(task)
            if left is not None:
                self.decisions[name] = left
                return
        decision = self._judge(task, known)
        runs = decision.verb in _RUNS or (decision.verb is Verb.REUSE and known.kept is not None)
        if runs and (behind := next((need for need in self._needs(task) if need in self.stuck), None)) is not None:
            decision = Decision(name, Verb.WAIT, f"behind {behind}")
        if decision.verb is Verb.WAIT:
            self.stuck.add(name)
        if decision.verb is not Verb.REUSE:
            self.open.add(name)
            self.containers.note(task, decision)
            prior = known.prior
            if prior is not None and prior.trace is not None:
                self.rewritten.update((seen.path, name) for seen in prior.trace.writes)
        self.decisions[name] = decision

    def _needs(self, task: Task) -> Iterator[TaskId]:
        """Yield what must be done before a task may begin: what the containers around it need as well."""
        yield from task.needs
        while task.within is not None:
            task = self.graph[task.within]
            yield from task.needs

    def _judge(self, task: Task, known: TaskState) -> Decision:
        name, request, status = task.id, self.request, known.status
        if name in request.skip:
            self.events.append(TaskSkipped(self.now, name, "skipped on request"))
            return Decision(name, Verb.SKIP, "skipped on request")
        if name in request.results:
            self.events.append(ResultSet(self.now, name, request.results[name].ref, request.by, request.why))
            given = Component("result", "", request.results[name].ref.data.hex()[-12:])
            return Decision(name, Verb.REUSE, "its result is given", (given,))
        if self._is_forced(task):
            self.forced.add(name)
            if known.attempt or known.prior is not None or status is not TaskStatus.PENDING:
                return self._again(task, ASKED_FOR if name in request.rerun else AFTER_ASKED_FOR)
            return Decision(name, Verb.RUN, "not run yet")
        if name in request.retry:
            return self._again(task, "released on request")
        prior = known.prior
        if request.from_seq is not None:
            after = (prior.seq if prior is not None else known.seq) > request.from_seq
            if after and (prior is not None or status is not TaskStatus.PENDING):
                what = "done after the checkpoint" if prior is not None else AFTER_CHECKPOINT
                return self._again(task, what, AFTER_CHECKPOINT)
        if task.control is not None and (prior is None or prior.status is TaskStatus.COMPLETED):
            return self._judge_container(task, known)
        if prior is not None:
            return self._judge_prior(task, known, prior)
        return self._judge_unfinished(task, known)

    def _is_forced(self, task: Task) -> bool:
        if task.id in self.request.rerun:
            return True
        if self.request.downstream and any(need in self.forced for need in task.needs):
            return True
        return task.within is not None and bool(self.request.rerun) and self._is_forced(self.graph[task.within])

    def _again(self, task: Task, reason: str, recorded: str | None = None) -> Decision:
        """Let a task run again, whatever it had: its failures are forgiven."""
        self.resets.setdefault((recorded or reason, True), []).append(task.id)
        return Decision(task.id, Verb.RERUN, reason)

    def _interrupt(self, task: Task, known: TaskState, outcome: OnInterrupted) -> None:
        """Note that the process ended under a task; under the name it has so far: that is what the journal knows."""
        name = self.recorded.name(task.id)
        self.interrupted.append(TaskInterrupted(self.now, name, known.attempt, outcome.value, PROCESS_ENDED))

    # -- results -------------------------------------------------------------------------------------------------

    def _judge_prior(self, task: Task, known: TaskState, prior: Prior) -> Decision:
        """Decide about a task with a recorded result."""
        name = task.id
        if not self.strategy.preserve_completed_tasks:
            return self._again(task, "preserve_completed_tasks is off")
        if known.pinned:
            return Decision(name, Verb.REUSE, known.pinned if prior.value is not None else _since(prior))
        if self._is_in_question(task):
            why = f"{task.within} is worked out again; kept if what it is given comes out the same"
            return Decision(name, Verb.RERUN, why, (), conditional=True)
        return self._judge_result(task, known, prior)

    def _judge_result(self, task: Task, known: TaskState, prior: Prior) -> Decision:
        """Decide about a task whose result may be kept, as far as nothing but itself is asked."""
        name = task.id
        asked = task.on_change or self.request.on_change
        old = self.recorded.before(task, known)
        source = self._unsettled(task, prior)
        if (
            source is None
            and known.kept is None
            and asked is not OnChange.KEEP
            and self._is_as_it_was(task, old, prior)
        ):
            return Decision(name, Verb.REUSE, _since(prior))
        present = self._present(task, prior, settled=source is None)
        changes = tuple(weigh(prior, old, task, present, stale=known.stale or self.other_inputs))
        if asked is OnChange.KEEP:
            return self._keep(task, known, prior, source, changes)
        if source is not None and not changes:
            return self._judge_unsettled(task, known, source, asked)
        if not changes:
            if known.kept is not None:
                self._reuse(name, prior)
                return Decision(name, Verb.REUSE, "what it is given is the same")
            return Decision(name, Verb.REUSE, _since(prior))
        if asked is None and not self._follows(task, known, source):
            why = f"kept, though {_summary(changes)} (run it again with --rerun {name})"
            return Decision(name, Verb.REUSE, why, changes)
        if asked is OnChange.FAIL:
            self._refuse(task, _summary(changes))
        return self._changed(task, old, source, changes)

    def _is_as_it_was(self, task: Task, old: Task, prior: Prior) -> bool:
        """Tell in short that nothing of a task has changed, as is so with most of 100,000; False if it takes a look."""
        evidence = self.evidence
        call = evidence.calls.get((task.tool, task.action))
        return (
            (old is task or (old.tool == task.tool and old.action == task.action and old.files is task.files))
            and (call is None or prior.call is None or prior.call is call)
            and prior.trace is None
            and task.id not in evidence.given
            and task.id not in evidence.schema_faults
        )

    def _follows(self, task: Task, known: TaskState, source: str | None) -> bool:
        """Tell whether a finished task runs again that has changed and of which nothing is said.

        It does if the definition was edited, if its result is in question already, and if what it reads was given by
        hand. What has changed in the world alone is told, and a plain resume repeats nothing.
        """
        request = self.request
        if request.follow or request.revision is not None or known.kept is not None or source is not None:
            return True
        return bool(request.results) and any(read in request.results for read in task.reads or ())

    def _keep(
        self, task: Task, known: TaskState, prior: Prior, source: str | None, changes: tuple[Component, ...]
    ) -> Decision:
        """Let a finished task keep its result, whatever has changed."""
        name = task.id
        if known.kept is not None:
            self._reuse(name, prior)
        if changes:
            return Decision(name, Verb.REUSE, f"kept, though {_summary(changes)} (on_change is keep)", changes)
        if source is not None:
            return Decision(name, Verb.REUSE, f"kept, whatever {source} does: on_change is keep")
        return Decision(name, Verb.REUSE, _since(prior))

    def _reuse(self, name: TaskId, prior: Prior) -> None:
        """Give an invalidated task its result back."""
        if prior.value is None:
            self.events.append(TaskSkipped(self.now, name, CONDITION_FALSE))
        else:
            source = prior.source or checkpoint_id(self.evidence.execution_id, prior.seq)
            self.events.append(TaskReused(self.now, name, prior.value, prior.parameters, source))

    def _refuse(self, task: Task, why: str) -> None:
        own = " (its own on_change: --rerun it, or edit that)" if task.on_change is OnChange.FAIL else ""
        self.refused.append(f"{task.id}: {why}{own}")

    def _judge_unsettled(self, task: Task, known: TaskState, source: str, asked: OnChange | None) -> Decision:
        """Decide about a task with a result that reads what may become another value."""
        name = task.id
        if asked is OnChange.FAIL:
            self._refuse(task, f"reads {source}")
        if known.kept is None:
            self.invalid.setdefault("what they are given may have changed", []).append(name)
        return Decision(name, Verb.RERUN, f"reads {source}; kept if that comes out the same", (), conditional=True)

    def _changed(self, task: Task, old: Task, source: str | None, changes: tuple[Component, ...]) -> Decision:
        """Decide about a finished task that is to follow its changes.

        It keeps its old result until its next attempt begins: what is never run, because something before it fails or
        the edit is taken back, has lost nothing.
        """
        name = task.id
        in_files = all(_is_file(each) for each in changes)
        if any(each.name.startswith("output file ") for each in changes) or (task.migrate is not None and in_files):
            self.resets.setdefault(("changed", True), []).append(name)  # only a run makes it anew
        elif self._known(name).kept is None:
            self.invalid.setdefault("changed", []).append(name)
        if changes[0].name == "condition" and changes[0].now == "false":
            return Decision(name, Verb.SKIP, "its condition is false now", changes)
        if task.migrate is not None and old != task and not in_files:
            unless = f", unless {source} comes out otherwise" if source is not None else ""
            why = f"its result goes through {task.migrate}{unless}: {_summary(changes)}"
            return Decision(name, Verb.RERUN, why, changes)
        return Decision(name, Verb.RERUN, _summary(changes), changes)

    def _unsettled(self, task: Task, prior: Prior) -> str | None:
        """Name what a task reads that may be another value, or another file, afterwards."""
        need = self._open_need(task)
        if need is not None:
            return need
        if self.rewritten and prior.trace is not None:
            for seen in prior.trace.reads:
                writer = self.rewritten.get(seen.path)
                if writer is not None and writer != task.id:
                    return f"the file {seen.path} of {writer}"
        return None

    def _open_need(self, task: Task) -> str | None:
        """Name a step that the task reads and whose value may be another one afterwards."""
        return next((str(need) for need in task.reads or () if need in self.open), None) if self.open else None

    def _present(self, task: Task, prior: Prior, *, settled: bool) -> Present:
        evidence = self.evidence
        if prior.trace is not None and self.latest is None:
            self.latest = files_of({name: known.prior for name, known in self.state.tasks.items()})
        latest = self.latest or {}
        invalidated = self._known(task.id).kept is not None  # then what wrote it may have done so again meanwhile

        def read(path: str) -> FileSeen | None:
            # What a step of this execution wrote is looked at where that step is judged.
            return None if path in latest and not invalidated else evidence.files.get(path)

        def written(path: str) -> FileSeen | None:
            last = latest.get(path)
            return evidence.files.get(path) if last is not None and last[0] == prior.seq else None

        return Present(
            evidence.calls.get((task.tool, task.action)),
            evidence.given.get(task.id) if settled else None,  # else worked out of what may be another value by then
            read,
            written,
            evidence.schema_faults.get(task.id, ""),
        )

    # -- containers ----------------------------------------------------------------------------------------------

    def _judge_container(self, task: Task, known: TaskState) -> Decision:
        """Decide about a step that holds others: it goes on with them, is looked at anew, or keeps what it has."""
        name, status = task.id, known.status
        if status is TaskStatus.PENDING and known.kept is None and name not in self.graph.expansions:
            return Decision(name, Verb.RUN, "new" if known is _FRESH else "not run yet")
        source = next((str(read) for read in sorted(read_by(task)) if read in self.open), None)
        if self.containers.begins_anew(name) or self.containers.goes_back(name) or source is not None:
            because = f"reads {source}" if source is not None else "what it is made of may be another now"
            if status in DONE:
                self.invalid.setdefault("what they are given may have changed", []).append(name)
            elif status is not TaskStatus.PENDING:
                self.resets.setdefault(("what it is made of may have changed", True), []).append(name)
            why = f"{because}; what is in it is kept where it comes out the same"
            return Decision(name, Verb.RERUN, why, (), conditional=True)
        if status is TaskStatus.PENDING:
            return Decision(name, Verb.RERUN, "what it is made of is worked out again")
        told = self.containers.told(name)
        if status in (TaskStatus.FAILED, TaskStatus.PARKED):
            return self._judge_failed_container(task, known, told)
        if told or status is TaskStatus.EXPANDED:
            return Decision(name, Verb.RERUN if status in DONE else Verb.RUN, told or "all in it is done")
        return Decision(name, Verb.REUSE, _since(known.prior) if known.prior is not None else "")

    def _judge_failed_container(self, task: Task, known: TaskState, told: str) -> Decision:
        name = task.id
        if not self.strategy.retry_failed_tasks:
            return Decision(name, Verb.WAIT, "failed, and retry_failed_tasks is off")
        stuck = next((each for each in self.graph.inside(name) if each in self.stuck), None)
        if stuck is not None and not told:
            return Decision(name, Verb.WAIT, f"behind {stuck}")
        self.resets.setdefault(("retry", False), []).append(name)
        return Decision(name, Verb.RERUN, told or f"failed: {known.error.message if known.error else ''}")

    # -- what is not done ----------------------------------------------------------------------------------------

    def _judge_unfinished(self, task: Task, known: TaskState) -> Decision:
        name, status = task.id, known.status
        if status is TaskStatus.PENDING:
            if not known.attempt:
                return Decision(name, Verb.RUN, "new" if known is _FRESH else "not run yet")
            if known.undone == known.attempt:
                return Decision(name, Verb.RERUN, f"what attempt {known.attempt} did was undone")
            return Decision(name, Verb.RERUN, f"due again after attempt {known.attempt}{_from_saved(task, known)}")
        if status is TaskStatus.RUNNING:
            return self._judge_running(task, known)
        if status is TaskStatus.RETRYING:
            self.resets.setdefault(("retry", False), []).append(name)
            return Decision(name, Verb.RERUN, f"failed {known.failures}x, its retry was due")
        if status is TaskStatus.WAITING:
            return self._judge_waiting(task, known)
        if status is TaskStatus.IN_DOUBT:
            return Decision(name, Verb.WAIT, f"in doubt: {PROCESS_ENDED} ({_release(name)})")
        return self._judge_failed(task, known)

    def _judge_waiting(self, task: Task, known: TaskState) -> Decision:
        """Decide about a task that waits: it goes on to, unless what it asks has changed."""
        name = task.id
        old = self.recorded.before(task, known)
        if not called_alike(old, task) or (self.other_inputs and task.reads is not None):
            self.resets.setdefault(("what it waits for has changed", True), []).append(name)
            return Decision(name, Verb.RERUN, "what it waits for has changed")
        if (source := self._open_need(task)) is not None:
            return Decision(name, Verb.RERUN, f"waits, and reads {source}, which may be another value then")
        wait = known.wait
        what = "" if wait is None else f" {wait.text}" if wait.kind != APPROVAL else f" for an answer: {wait.text}"
        return Decision(name, Verb.WAIT, f"waits{what}")

    def _judge_running(self, task: Task, known: TaskState) -> Decision:
        name = task.id
        policy = interruption(task, self.strategy)
        was = f"attempt {known.attempt} was interrupted"
        self._interrupt(task, known, policy)
        if policy is OnInterrupted.RERUN:
            return Decision(name, Verb.RERUN, was + _from_saved(task, known))
        if policy is OnInterrupted.ASK:
            return Decision(name, Verb.WAIT, f"in doubt: {was} ({_release(name)})")
        why = "on_interrupted: fail" if self.strategy.reset_running_tasks else "reset_running_tasks is off"
        return Decision(name, Verb.WAIT, f"{was}, marked failed: {why}")

    def _judge_failed(self, task: Task, known: TaskState) -> Decision:
        name = task.id
        if self.strategy.retry_failed_tasks and (changes := self._mended(task, known)):
            self.resets.setdefault(("changed since it failed", True), []).append(name)
            return Decision(name, Verb.RERUN, f"changed since it failed: {_summary(changes)}", changes)
        if self.strategy.retry_failed_tasks and (source := self._open_need(task)) is not None:
            self.resets.setdefault(("what it reads may be another value now", True), []).append(name)
            return Decision(name, Verb.RERUN, f"failed, and reads {source}, which may be another value now")
        if is_exhausted(task, known.failures, known.crashes, self.strategy):
            return Decision(name, Verb.WAIT, f"parked: {exhaustion(task, known, self.strategy)} ({_release(name)})")
        if not self.strategy.retry_failed_tasks:
            return Decision(name, Verb.WAIT, "failed, and retry_failed_tasks is off")
        times = known.failures + known.crashes
        self.resets.setdefault(("retry", False), []).append(name)
        return Decision(name, Verb.RERUN, f"failed {times}x: {known.error.message if known.error else ''}")

    def _mended(self, task: Task, known: TaskState) -> tuple[Component, ...]:
        """Return how a failed task differs from what failed: whoever mended it wants it tried, whatever its count."""
        old = self.recorded.before(task, known)
        found: list[Component] = []
        given = self.evidence.given.get(task.id)
        if given is not None and given.changes:
            found = list(given.changes)
        elif not called_alike(old, task):
            found = [
                Component(path, shown(was), shown(now))
                for path, was, now in changed_parts(old, task)
                if path.partition(".")[0] in ("tool", "action", "parameters", "condition", "files")
            ]
        call = self.evidence.calls.get((task.tool, task.action))
        if not found and known.call is not None and call is not None and known.call is not call:
            found = call_changes(known.call, call)
        return tuple(found)


def _later(pipeline: Pipeline, stage: Stage = Stage.MAIN, outcome: str = "") -> list[Decision]:
    """Return what a plan says of the stages after this one; ``outcome`` is how the main part ended, if it has."""
    found: list[Decision] = []
    if STAGES.index(stage) < STAGES.index(Stage.ON_FAILURE) and outcome in ("", ExecutionStatus.FAILED.value):
        verb, when = (Verb.RUN, "after the failure") if outcome else (Verb.WAIT, "only if the run fails")
        found += [Decision(name, verb, when) for name in pipeline.on_failure]
    if stage is not Stage.FINALLY:
        found += [Decision(name, Verb.RUN, "at the end") for name in pipeline.finally_]
    return found


def _unwanted(decision: Decision, until: str | None) -> Decision:
    if decision.verb in _RUNS:
        return decision._replace(verb=Verb.WAIT, reason=f"not needed for {until}", components=(), conditional=False)
    return decision


def _is_file(component: Component) -> bool:
    return component.name.startswith(("file ", "output file "))


def _since(prior: Prior) -> str:
    if prior.source:
        return f"{prior.status.value}, taken from {prior.source}"
    return f"{prior.status.value} at seq {prior.seq}"


def _summary(changes: tuple[Component, ...]) -> str:
    more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    return ", ".join(map(str, changes[:_SHOWN])) + more


def _from_saved(task: Task, known: TaskState) -> str:
    if known.saved is None:
        return ""
    through = f" through {task.migrate}" if known.saved_under is not None and task.migrate is not None else ""
    return f", goes on from its saved state{through}"


def interruption(task: Task, strategy: ResumeStrategy) -> OnInterrupted:
    """Say what becomes of a step whose attempt was cut off."""
    return task.on_interrupted if strategy.reset_running_tasks else OnInterrupted.FAIL


def exhaustion(task: Task, state: TaskState, strategy: ResumeStrategy) -> str:
    """Say which limit a parked task has used up."""
    if state.crashes > CRASH_LIMIT:
        return f"its worker crashed {state.crashes} times (limit {CRASH_LIMIT})"
    return f"{state.failures} failures, {failure_limit(task, strategy)} retries allowed"


def _release(name: str) -> str:
    return f"release it with --retry {name} or --skip {name}"
