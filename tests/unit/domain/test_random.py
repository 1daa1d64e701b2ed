"""Random graphs with random outcomes, driven by decide and plan until they end, as the engine does it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.decide import Claim, Finish, decide
from orchestrator.domain.events import (
    ErrorInfo,
    Event,
    ExecutionFinished,
    ExecutionStarted,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskInterrupted,
    TaskSkipped,
    TasksReset,
)
from orchestrator.domain.execution import DONE, STUCK, ExecutionState, ExecutionStatus, TaskStatus
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import OnInterrupted, Pipeline, RetryPolicy, Task
from orchestrator.domain.plan import PlanRequest, Verb
from orchestrator.domain.retry import CRASH_LIMIT, after_failure
from orchestrator.domain.strategy import ResumeStrategy
from tests.unit.domain.graphs import begun, facts, planned, value

STRATEGY = ResumeStrategy(max_retry_attempts=2)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Draw a graph of up to eight tasks; a task needs only earlier ones, but is written at any place."""
    names = [TaskId(f"t{n}") for n in range(draw(st.integers(0, 8)))]
    tasks = {}
    for index, name in enumerate(names):
        needs = tuple(draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=3))) if index else ()
        tasks[name] = Task(
            name,
            "noop",
            needs=needs,
            retry=RetryPolicy(max_attempts=draw(st.integers(1, 3)), delay_seconds=draw(st.sampled_from([0.0, 1.0]))),
            on_interrupted=draw(st.sampled_from(OnInterrupted)),
        )
    order = draw(st.permutations(names))
    return Pipeline("p", {name: tasks[name] for name in order})


@dataclass
class Drive:
    """The engine without its loop: records facts, obeys decide, and checks what must always hold."""

    pipeline: Pipeline
    draw: st.DrawFn
    capacity: int
    now: float = 0.0
    done: list[TaskId] = field(default_factory=list)
    epoch: int = 1
    bad_luck: int = 12

    def __post_init__(self) -> None:
        self.state, self.journal = begun(self.pipeline)

    def record(self, event: Event) -> None:
        before = self.state.seq
        if isinstance(event, TaskClaimed):
            assert all(self.state.tasks[need].status in DONE for need in self.pipeline.tasks[event.task].needs)  # I3
            assert self.state.tasks[event.task].status not in DONE  # I1
        if isinstance(event, (TaskCompleted, TaskSkipped)):
            self.done.append(event.task)
        if isinstance(event, TasksReset):
            self.done = [name for name in self.done if name not in event.tasks]
        self.state.apply(event)
        self.journal.append(event)
        assert self.state.seq == before + 1
        check(self.state, self.pipeline)
        assert sorted(self.done) == sorted(name for name, task in self.state.tasks.items() if task.status in DONE)
        assert len(self.state.running) <= self.capacity

    def run(self) -> ExecutionStatus:
        """Go on until decide says finish; the outcomes are drawn, in any order."""
        for _ in range(1_000):
            commands = decide(self.state, self.now, self.capacity, stopping=False)
            for command in commands:
                match command:
                    case Claim(name):
                        self.begin(name)
                    case Finish(status):
                        assert not self.state.running
                        self.record(ExecutionFinished(self.now, status.value, None, None))
                        assert decide(self.state, self.now, self.capacity, stopping=False) == []
                        return status
                    case _:
                        raise AssertionError(command)
            if not commands:
                self.wait()
        raise AssertionError("it does not end (I6)")

    def begin(self, name: TaskId) -> None:
        if self.draw(st.integers(0, 9)) == 0:
            self.record(TaskSkipped(self.now, name, "drawn"))
        else:
            self.record(TaskClaimed(self.now, name, self.state.tasks[name].attempt + 1, None))

    def wait(self) -> None:
        """Let something that runs end, or the time of a retry come."""
        due = self.state.next_retry_at()
        if not self.state.running:
            assert due is not None
            assert due > self.now
            self.now = due
            return
        name = self.draw(st.sampled_from(list(self.state.running)))
        task = self.state.tasks[name]
        kind = self.draw(st.sampled_from(["done", "done", "done", "failed", "fatal", "crashed"]))
        if kind == "done" or not self.bad_luck:
            self.record(TaskCompleted(self.now, name, task.attempt, value(name)))
            return
        self.bad_luck -= 1
        error = ErrorInfo("Boom", "drawn", retryable=kind != "fatal")
        crashed = kind == "crashed"
        verdict = after_failure(self.pipeline.tasks[name], task, error, STRATEGY, self.now, 0.5, crashed=crashed)
        self.record(TaskFailed(self.now, name, task.attempt, error, verdict.retry_at, crashed, verdict.parked))

    def resume(self, request: PlanRequest, strategy: ResumeStrategy = STRATEGY) -> None:
        plan = planned(self.pipeline, self.state, strategy, request, self.now)
        assert [decision.task for decision in plan.decisions] == list(self.pipeline.tasks)
        self.epoch += 1
        self.record(ExecutionStarted(self.now, self.epoch, "me", resumed=True, strategy=strategy.to_dict()))
        for event in plan.events:
            self.record(event)
        for decision in plan.decisions:
            status = self.state.tasks[decision.task].status
            match decision.verb:
                case Verb.REUSE | Verb.SKIP:
                    assert status in DONE
                case Verb.RUN | Verb.RERUN:
                    assert status is TaskStatus.PENDING
                case Verb.WAIT:
                    stuck = (TaskStatus.FAILED, TaskStatus.PARKED, TaskStatus.IN_DOUBT)
                    assert status in stuck or decision.task in self.state.blocked()
        assert self.state.blocked() == {
            decision.task for decision in plan.decisions if decision.reason.startswith("behind ")
        }


def check(state: ExecutionState, pipeline: Pipeline) -> None:
    """Check that what the fold keeps up to date is what one would count from scratch."""
    tasks = state.tasks
    for status in TaskStatus:
        assert state.counts[status] == sum(task.status is status for task in tasks.values())
    for name, task in tasks.items():
        assert task.unmet == sum(tasks[need].status not in DONE for need in pipeline.tasks[name].needs)
        assert (name in state.ready) is (task.status is TaskStatus.PENDING and task.unmet == 0)
        assert (name in state.running) is (task.status is TaskStatus.RUNNING)
        assert task.tries <= max(pipeline.tasks[name].retry.max_attempts, 1) + CRASH_LIMIT + 1
    assert sum(state.counts.values()) == len(tasks)
    waiting = [task.retry_at for task in tasks.values() if task.status is TaskStatus.RETRYING]
    assert state.next_retry_at() == min((due for due in waiting if due is not None), default=None)


def replayed(drive: Drive) -> ExecutionState:
    state = ExecutionState(drive.pipeline)
    state.apply_all(drive.journal)
    return state


@given(graph=pipelines(), capacity=st.integers(1, 4), data=st.data())
def test_every_run_ends_and_every_resume_brings_it_to_its_end(
    graph: Pipeline, capacity: int, data: st.DataObject
) -> None:
    drive = Drive(graph, data.draw, capacity)  # type: ignore[arg-type]
    status = drive.run()
    for _ in range(100):
        if status is ExecutionStatus.COMPLETED:
            break
        stuck = [name for name, task in drive.state.tasks.items() if task.status in STUCK]
        skip = frozenset(stuck) if data.draw(st.booleans()) else frozenset()
        drive.resume(PlanRequest(skip=skip, retry=frozenset(stuck) - skip))
        status = drive.run()
    assert status is ExecutionStatus.COMPLETED
    assert sorted(drive.done) == sorted(graph.tasks)  # none lost, none invented, each done once (I4)
    assert facts(replayed(drive)) == facts(drive.state)


@given(graph=pipelines(), data=st.data())
def test_a_death_at_any_fact_is_followed_by_a_resume_that_ends(graph: Pipeline, data: st.DataObject) -> None:
    drive = Drive(graph, data.draw, 4)  # type: ignore[arg-type]
    drive.run()
    cut = data.draw(st.integers(2, len(drive.journal)))
    survivor = Drive(graph, data.draw, 4)  # type: ignore[arg-type]
    for event in drive.journal[2:cut]:
        survivor.record(event)
    kept = [name for name, task in survivor.state.tasks.items() if task.status in DONE]
    for _ in range(100):
        stuck = frozenset(name for name, task in survivor.state.tasks.items() if task.status in STUCK)
        survivor.resume(PlanRequest(skip=stuck))
        if survivor.run() is ExecutionStatus.COMPLETED:
            break
    assert survivor.state.status is ExecutionStatus.COMPLETED
    began = [event.task for event in survivor.journal[cut:] if isinstance(event, TaskClaimed)]
    assert not set(kept) & set(began)  # what was done is never executed again (I1)


@given(graph=pipelines(), data=st.data())
def test_a_reset_undoes_what_was_done_and_no_more(graph: Pipeline, data: st.DataObject) -> None:
    drive = Drive(graph, data.draw, 4)  # type: ignore[arg-type]
    drive.run()
    drive.resume(PlanRequest(), ResumeStrategy(preserve_completed_tasks=False, max_retry_attempts=100))
    fresh, _ = begun(graph)
    released = [name for name, task in drive.state.tasks.items() if task.status is not TaskStatus.IN_DOUBT]
    for name in released:
        known = drive.state.tasks[name]
        if known.status is TaskStatus.PENDING:
            assert (known.unmet, known.value) == (fresh.tasks[name].unmet, None)


@given(graph=pipelines(), data=st.data())
def test_going_back_to_a_checkpoint_leaves_exactly_what_was_done_there(graph: Pipeline, data: st.DataObject) -> None:
    drive = Drive(graph, data.draw, 4)  # type: ignore[arg-type]
    drive.run()
    seq = data.draw(st.integers(1, drive.state.seq))
    then = ExecutionState(graph)
    then.apply_all(drive.journal[:seq])
    done_then = {name for name, task in then.tasks.items() if task.status in DONE}
    drive.resume(PlanRequest(from_seq=seq))
    assert {name for name, task in drive.state.tasks.items() if task.status in DONE} == done_then


@given(graph=pipelines(), data=st.data())
def test_an_interruption_follows_the_step_or_the_strategy(graph: Pipeline, data: st.DataObject) -> None:
    drive = Drive(graph, data.draw, 4)  # type: ignore[arg-type]
    for command in decide(drive.state, 0.0, 4, stopping=False):
        if isinstance(command, Claim):
            drive.record(TaskClaimed(0.0, command.task, 1, None))
    running = list(drive.state.running)
    reset = data.draw(st.booleans())
    drive.resume(PlanRequest(), ResumeStrategy(reset_running_tasks=reset))
    expected = {"rerun": TaskStatus.PENDING, "fail": TaskStatus.FAILED, "ask": TaskStatus.IN_DOUBT}
    for name in running:
        policy = graph.tasks[name].on_interrupted.value if reset else "fail"
        assert drive.state.tasks[name].status is expected[policy]
    interruptions = [event for event in drive.journal if isinstance(event, TaskInterrupted)]
    assert [event.task for event in interruptions] == [name for name in graph.tasks if name in running]
