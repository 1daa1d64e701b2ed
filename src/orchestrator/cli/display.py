"""What a run shows while it goes on: a line for each fact, or a JSON object for each.

Facts come on the engine's loop; a thread of the display writes them, so that a slow terminal, a full pipe or a
reader that has gone never holds up a step or a lease. Nothing here costs more than its fact: no look at the pipeline.
"""

from __future__ import annotations

import shlex
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from orchestrator.cli import output
from orchestrator.cli.output import duration, moment, one_line, plural
from orchestrator.core.ending import answer_command
from orchestrator.domain.events import (
    UNDONE,
    CancelRequested,
    CheckpointMade,
    DecisionMade,
    DefinitionChanged,
    DefinitionLoaded,
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
from orchestrator.domain.plan import Verb
from orchestrator.domain.waits import APPROVAL, TIME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.events import Event
    from orchestrator.domain.plan import Decision, Plan

QUEUE_LIMIT = 100_000
"""Lines that wait for a slow reader; beyond these they are counted, not kept: the journal has them all."""
MESSAGE_LIMIT = 500
PROGRESS_SECONDS = 10.0
PROGRESS_PART = 0.1
"""In plain lines, a step that says how far it is gets a line in so many seconds, or for so large a part of its way."""
_NAMED = 3
_REMOVED = 20


@dataclass(slots=True)
class Running:
    """A running step, as shown. ``since`` is seconds since 1970; 0: nobody knows."""

    attempt: int
    since: float
    done: float | None = None
    total: float | None = None
    message: str = ""


class Display:
    """Shows nothing; the base of those that do. Fills ``core.recorder.Listener``."""

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}
        self.containers: dict[str, Running] = {}
        """Containers at work, counted by the steps in them."""
        self.done = 0
        self.total = 0
        self.began = 0.0
        self.failed = 0
        self.retrying = 0
        self._of = ""
        self.opening = "resuming"
        """What is said of an execution that is taken up."""
        self.store: str | None = None
        """The store that was named, for commands that are shown."""

    def is_of_child(self, execution_id: str) -> bool:
        """Tell whether this is not the execution shown, which is the first one heard of, but one that a step runs."""
        self._of = self._of or execution_id
        return execution_id != self._of

    def planned(self, execution_id: str, plan: Plan) -> None:
        """Take note of what a resume will do, before it does it."""
        self._of = execution_id
        self.done = plan.counts().get(Verb.REUSE, 0)
        self.total = len(plan.decisions) - plan.later
        self.containers.update(_begun(plan))

    def notify(self, event: Event, execution_id: str, seq: int) -> None:  # noqa: ARG002
        """See core.recorder.Listener."""
        if not self.is_of_child(execution_id):
            self._count(event)

    def progress(
        self,
        execution_id: str,
        task: str,
        done: float | None,
        total: float | None,
        message: str,
    ) -> None:
        """See core.recorder.Listener."""
        known = self.running.get(task)
        if known is not None and not self.is_of_child(execution_id):
            known.done, known.total, known.message = done, total, message

    def remark(self, text: str) -> None:
        """Say something to the person at the terminal, without disturbing what is shown."""
        output.tell(text)

    def leave(self) -> None:
        """Leave the terminal usable, at once: called in a signal handler, takes no lock."""

    def close(self) -> None:
        """Write what is left."""

    def _count(self, event: Event) -> Running | None:  # noqa: C901, PLR0912 - one case for each kind of event
        """Keep the counts; return the step that ended with this fact."""
        match event:
            case ExecutionCreated():
                self.total = event.total
            case ExecutionStarted():
                self.began = event.at
            case TaskClaimed():
                if event.attempt > 1 and self.retrying:
                    self.retrying -= 1
                self.running[event.task] = Running(event.attempt, event.at)
            case TaskExpanded():
                self._grow(event)
            case DefinitionChanged():
                self.total = event.total
            case TaskCompleted() | TaskSkipped() | TaskReused() | TaskGathered():
                self.done += 1
                self._count_inside(event.task)
                container = self.containers.pop(event.task, None) if self.containers else None
                return container or self.running.pop(event.task, None)
            case TaskFailed():
                if self.containers:
                    self.containers.pop(event.task, None)
                if event.retry_at is None:
                    self.failed += 1
                else:
                    self.retrying += 1
                return self.running.pop(event.task, None)
            case TaskInterrupted():
                return self.running.pop(event.task, None)
            case StageEntered():
                self.total += len(event.tasks)
            case TasksReset():
                self.done -= len(event.tasks) if event.reason == UNDONE else 0
            case _:
                pass
        return None

    def _grow(self, event: TaskExpanded) -> None:
        """Follow a container that has more steps in it now."""
        container = self.containers.setdefault(event.task, Running(1, event.at, 0.0, 0.0))
        container.total = (container.total or 0) + max(0, event.total - self.total)
        if event.items is None and event.keys not in ([""], []):
            container.message = f"round {event.keys[-1]}"
        self.total = event.total

    def _count_inside(self, task: str) -> None:
        """Count a step that is done for the container that it is in: the innermost one that is at work."""
        at = len(task) if self.containers else 0
        while at > 0:
            at = max(task.rfind("[", 0, at), task.rfind(".", 0, at))
            container = self.containers.get(task[:at]) if at > 0 else None
            if container is not None and container.done is not None:
                container.done += 1
                return


def _begun(plan: Plan) -> Iterator[tuple[str, Running]]:
    """Yield the containers of a plan that go on with what they hold."""
    graph = plan.graph
    if graph is None or not graph.expansions:
        return
    verbs = {decision.task: decision.verb for decision in plan.decisions}
    for name in graph.expansions:
        if verbs[name] is not Verb.REUSE:
            members = [each for each in graph.inside(name) if graph[each].within == name]
            done = sum(verbs[each] is Verb.REUSE for each in members)
            yield name, Running(1, 0.0, float(done), float(len(members)))


class Written(Display):
    """A display whose lines are written by a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque()
        self._lost = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Have a line written."""
        if len(self._lines) >= QUEUE_LIMIT:
            self._lost += 1
            return
        self._lines.append(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="orchestrator-display", daemon=True)
            self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """Write what is left; waits for a reader that is slow, as any program does."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            self.paint(self._take())
        self.paint(self._take())

    def _take(self) -> str:
        lines = self._lines
        text = "".join(f"{lines.popleft()}\n" for _ in range(len(lines)))
        if self._lost and not lines:
            lost, self._lost = self._lost, 0
            text += f"{self.lost_line(lost)}\n"
        return text

    def paint(self, text: str) -> None:
        """Write finished lines; on the display's thread."""
        output.write(text)

    def lost_line(self, count: int) -> str:
        """Say that lines were left out."""
        return f"({plural(count, 'line')} left out: the reader was too slow; `orchestrator history` has them)"


class JsonDisplay(Written):
    """One JSON object for each fact, and nothing else (observe.progress has the fields)."""

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        """See core.recorder.Listener."""
        from orchestrator.observe.progress import describe

        super().notify(event, execution_id, seq)
        self.put(output.compact(describe(event, execution_id, seq)))

    def planned(self, execution_id: str, plan: Plan) -> None:
        """Emit the plan, each task's verb and reason with it."""
        super().planned(execution_id, plan)
        self.put(output.compact(plan_object(execution_id, plan)))

    def lost_line(self, count: int) -> str:
        """Say it as an object."""
        return output.compact({"event": "lines_lost", "count": count})


class PlainDisplay(Written):
    """A line for each fact, for pipes and logs; how far a step is, only now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, tuple[float, float]] = {}

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        """See core.recorder.Listener."""
        if self.is_of_child(execution_id):
            line = self.child_line(event, execution_id, seq)
        else:
            line = self.line(event, execution_id, seq, self._count(event))
        if line is not None:
            self.put(line)

    def planned(self, execution_id: str, plan: Plan) -> None:
        """Say in one line what a resume will do."""
        super().planned(execution_id, plan)
        self.put(f"execution {execution_id}: {self.opening}")
        for line in (plan_line(plan), *plan_notes(plan)):
            self.put(line)

    def child_line(self, event: Event, execution_id: str, seq: int) -> str | None:
        """Return the line for a fact of an execution that a step runs."""
        if isinstance(event, (CheckpointMade, TaskProgressed)):
            return None
        line = fact_line(event, execution_id, seq)
        return line if line is None or line.startswith("execution ") else f"{execution_id}: {line}"

    def line(self, event: Event, execution_id: str, seq: int, ended: Running | None) -> str | None:
        """Return the line for a fact; None for one that needs no words."""
        if isinstance(event, CheckpointMade) and event.reason in ("periodic", "before"):
            return None
        if isinstance(event, TaskProgressed) and not self._worth_a_line(event):
            return None
        took = f" after {duration(event.at - ended.since)}" if ended is not None and ended.since else ""
        if isinstance(event, TaskWaiting) and event.kind != TIME and self.store is not None:
            return f"{fact_line(event, execution_id, seq)} --store {shlex.quote(one_line(self.store, MESSAGE_LIMIT))}"
        if isinstance(event, ExecutionFinished):
            took = f", {self.done:,} of {plural(self.total, 'step')} done in {duration(event.at - self.began)}"
        return fact_line(event, execution_id, seq, took)

    def _worth_a_line(self, event: TaskProgressed) -> bool:
        since, before = self._told.get(event.task, (0.0, 0.0))
        part = event.done / event.total if event.done is not None and event.total else 0.0
        if event.at - since < PROGRESS_SECONDS and abs(part - before) < PROGRESS_PART:
            return False
        self._told[event.task] = event.at, part
        return True


STAGES = {
    "undo": "undoing what completed steps did",
    "on_failure": "steps for after a failure",
    "finally": "steps for the end",
}
"""What is said when a later stage begins."""


def fact_line(event: Event, execution_id: str, seq: int, took: str = "") -> str | None:  # noqa: C901, PLR0912 - one case for each event
    """Return one line for a fact, None where nothing needs saying; ``took`` like `` after 1.2 s``."""
    match event:
        case ExecutionCreated():
            return f"execution {execution_id}: {event.pipeline_id}, {plural(event.total, 'step')}"
        case DecisionMade() | SignalReceived() | TaskWaiting():
            return _waiting(event, execution_id)
        case ExecutionStarted() | TasksReset() | TasksInvalidated() | TaskTraced() | ToolsResolved():
            return None
        case TaskExpanded():
            told = _expanded(event)
            return f"{event.task}: {told}" if told else None
        case TaskGathered():
            lost = f" without {plural(len(event.lost), 'item')} that failed" if event.lost else ""
            return f"{event.task}: completed{took}{lost}"
        case ResumePlanned() | DefinitionLoaded():
            return None
        case DefinitionChanged():
            source = f" from {one_line(event.source, MESSAGE_LIMIT)}" if event.source else ""
            return f"execution {execution_id}: the definition is another one now{source}, {plural(event.total, 'step')}"
        case ExecutionForked():
            return f"execution {execution_id}: begins with what {event.source} had recorded"
        case ExecutionLinked():
            return f"execution {execution_id}: started by step {event.task} of {event.parent}"
        case TaskReused():
            return f"{event.task}: {reused(event, execution_id)}"
        case ResultSet():
            return f"{event.task}: its result was given by {one_line(event.by, MESSAGE_LIMIT)}{_why(event.reason)}"
        case TaskClaimed():
            return f"{event.task}: started{_again(event.attempt)}"
        case TaskCompleted():
            return f"{event.task}: completed{took}{_again(event.attempt)}"
        case TaskFailed():
            what = "its worker crashed" if event.crashed else "failed"
            return f"{event.task}: {what}{took}{_again(event.attempt)}: {error_text(event)}{_next(event)}"
        case TaskInterrupted():
            outcome = {"rerun": "will run again", "fail": "counts as failed", "ask": "in doubt"}.get(event.outcome, "")
            return f"{event.task}: interrupted, {one_line(event.reason)}; {outcome}"
        case TaskSkipped():
            return f"{event.task}: skipped, {one_line(event.reason, MESSAGE_LIMIT)}"
        case TaskProgressed():
            return f"{event.task}: {far(event.done, event.total)} {one_line(event.message, MESSAGE_LIMIT)}".rstrip()
        case CheckpointMade():
            return f"checkpoint {execution_id}@{seq} ({event.reason})" if event.reason != "stop" else None
        case CancelRequested():
            return f"execution {execution_id}: cancel asked for by {one_line(event.by, MESSAGE_LIMIT)}"
        case ExecutionFinished():
            return f"execution {execution_id}: {event.status}{took}"
        case StageEntered():
            return f"execution {execution_id}: {STAGES[event.stage]}, {plural(len(event.tasks), 'step')}"
        case ExecutionWaiting():
            return f"execution {execution_id}: waiting"
        case _:
            assert_never(event)


def _waiting(event: DecisionMade | SignalReceived | TaskWaiting, execution_id: str) -> str | None:
    """Say what a step waits for and how it is answered, what came, and what was refused of it."""
    match event:
        case TaskWaiting():
            until = "" if event.until is None else f" until {moment(event.until)}"
            how = answer_command(execution_id, event.task, event.kind, event.name)
            answer = f"; answer with: {one_line(how, MESSAGE_LIMIT)}" if how else ""
            text = ("for an answer: " if event.kind == APPROVAL else "") + one_line(event.text, MESSAGE_LIMIT)
            return f"{event.task}: waits {text}{until}{answer}"
        case SignalReceived():
            return f"signal {one_line(event.name)} came from {one_line(event.by, MESSAGE_LIMIT)}"
        case DecisionMade(kind="send_back"):
            said = f": {one_line(event.value, MESSAGE_LIMIT)}" if event.value else ""
            return f"{event.task}: sent back to {event.reads['step']} by {one_line(event.reads['by'])}{said}"
        case DecisionMade(kind="signal") if event.value != "taken":
            return (
                f"{event.task}: an answer by {one_line(event.reads['by'])} was {one_line(event.value, MESSAGE_LIMIT)}"
            )
        case _:
            return None


def _expanded(event: TaskExpanded) -> str:
    """Say what a container is made of: its items, its next round, its case; empty for a block."""
    if event.branch:
        return f"case {one_line(event.branch, MESSAGE_LIMIT)}"
    if event.items is not None:
        return plural(len(event.keys), "item")
    return f"round {event.keys[0]}" if event.keys not in ([""], []) else ""


def reused(event: TaskReused, execution_id: str) -> str:
    """Say where a result comes from that was not computed anew."""
    if event.source.startswith(f"{execution_id}@"):
        return f"kept its result ({event.source}): it would be given the same again"
    return f"takes its result from {one_line(event.source)}"


def _why(reason: str) -> str:
    return f" ({one_line(reason, MESSAGE_LIMIT)})" if reason else ""


def _again(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt > 1 else ""


def error_text(event: TaskFailed) -> str:
    """Return the error of a failed attempt on one line."""
    kind = "" if event.error.message.startswith(event.error.kind) else f"{event.error.kind}: "
    return one_line(kind + event.error.message, MESSAGE_LIMIT)


def _next(event: TaskFailed) -> str:
    if event.retry_at is not None:
        return f"; retry in {duration(event.retry_at - event.at)}"
    return "; parked" if event.parked else ""


def far(done: float | None, total: float | None) -> str:
    """Say how far a step is.

    >>> far(3, 12), far(5000, None), far(None, None)
    ('3 of 12 (25 %)', '5,000', 'saved')
    """
    if done is None:
        return "saved"
    if not total:
        return f"{done:,.12g}"
    return f"{done:,.12g} of {total:,.12g} ({100 * done / total:.0f} %)"


def verb_of(decision: Decision) -> str:
    """Return a decision's verb as people see it: ``rerun?`` runs again only if it is given something else."""
    return f"{decision.verb.value}?" if decision.conditional else decision.verb.value


def plan_line(plan: Plan) -> str:
    """Return a plan in one line: ``plan: reused 7 · rerun 1 (clean: attempt 1 was interrupted) · to run 4``."""
    return f"plan: {plan_summary(plan)}"


def plan_summary(plan: Plan) -> str:
    """Return how many steps are treated how, with the first reasons for what runs again and what waits."""
    words = {"reuse": "reused", "rerun": "rerun", "rerun?": "rerun?", "run": "to run", "skip": "skipped"}
    groups: dict[str, list[Decision]] = {}
    for decision in plan.decisions:
        groups.setdefault(verb_of(decision), []).append(decision)
    parts = []
    for verb, word in (words | {"wait": "waiting"}).items():
        found = groups.get(verb)
        if not found:
            continue
        part = f"{word} {len(found):,}"
        if verb in ("rerun", "wait"):
            # What is waited for goes before what waits behind it.
            named = sorted(found, key=lambda decision: decision.reason.startswith("behind "))
            reasons = "; ".join(f"{each.task}: {one_line(each.reason, 160)}" for each in named[:_NAMED])
            more = f"; and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
            part += f" ({reasons}{more})"
        parts.append(part)
    return " · ".join(parts) or "nothing to do"


def plan_notes(plan: Plan) -> list[str]:
    """Return what a plan says besides its decisions, a line each: inputs that are other ones, steps that are gone."""
    inputs = [f"input changed: {one_line(each, 160)}" for each in plan.changed_inputs]
    removed = [f"removed: {task} (it was {status.replace('_', ' ')})" for task, status in plan.removed[:_REMOVED]]
    more = len(plan.removed) - len(removed)
    return [*inputs, *removed, *[f"… and {more:,} more removed"] * (more > 0)]


def plan_object(execution_id: str, plan: Plan) -> dict[str, Any]:
    """Return a plan for machines."""
    return {
        "event": "plan",
        "execution_id": execution_id,
        "digest": plan.digest,
        "counts": {verb.value: count for verb, count in plan.counts().items()},
        "decisions": [
            {
                "task": each.task,
                "verb": each.verb.value,
                "conditional": each.conditional,
                "reason": each.reason,
                "components": [part._asdict() for part in each.components],
            }
            for each in plan.decisions
        ],
        "removed": [{"task": task, "status": status} for task, status in plan.removed],
        "changed_inputs": [part._asdict() for part in plan.changed_inputs],
        "until": None if plan.until is None else sorted(plan.until),
    }
