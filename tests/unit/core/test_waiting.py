"""Steps that wait: for time, signals and answers; what becomes of them, and of what was sent back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator import ExecutionCancelled, ExecutionFailed, ExecutionWaiting, Orchestrator, ResumeError, UsageError
from orchestrator.domain.events import DecisionMade, SignalReceived, TaskInterrupted, TasksReset, TaskWaiting
from orchestrator.domain.execution import ExecutionStatus, TaskStatus
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.plan import Verb
from orchestrator.ports.store import Signal
from orchestrator.testing.clock import ManualClock
from orchestrator.tools import approval, wait
from tests.unit.core.bench import Bench, journal, statuses, step, wait_until

E = ExecutionId("e")
DAY = 86400.0
REVIEW = step("review", "approval", question="{{ draft.result }} good?", choices=["yes", "no"], send_back="draft")
DRAFT = step("draft", value="{{ execution.sent_back.comment if execution.sent_back else 'first' }}")

NAP: dict[str, Any] = {"id": "nap", "tool": "wait", "parameters": {"for": 0.01}}


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """One store is enough here: tests/contract has the mailbox of each, tests/e2e has SQLite."""
    return f"memory://{request.node.name}"


@pytest.fixture
def orchestrator(bench: Bench) -> Orchestrator:
    bench.tools.register("wait", wait)
    bench.tools.register("approval", approval)
    return bench.open()


async def rest(orchestrator: Orchestrator, bench: Bench, *steps: dict[str, Any], **parts: Any) -> ExecutionWaiting:
    """Run these steps until nothing but waits is left."""
    with pytest.raises(ExecutionWaiting) as caught:
        await orchestrator.run_pipeline(bench.pipeline(*steps, **parts), execution_id=E, wait=False)
    return caught.value


async def result(orchestrator: Orchestrator, name: str) -> Any:
    return await orchestrator.get_result(E, name)


# -- approvals ---------------------------------------------------------------------------------------------------


async def test_an_answer_is_the_result_and_nothing_before_it_runs_again(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    publish = step("publish", after="review", condition="{{ review.result.choice == 'yes' }}")
    told = await rest(orchestrator, bench, DRAFT, REVIEW, publish)
    assert (told.exit_code, told.due, list(told.waits)) == (9, None, ["review"])
    assert "first good? [yes / no / send back to draft]" in str(told)
    assert "orchestrator approve e review" in str(told)
    (asked,) = await orchestrator.pending_approvals()
    assert (asked.step, asked.question, asked.choices, asked.until) == ("review", "first good?", ("yes", "no"), None)
    assert (await orchestrator.get_summary(E)).status is ExecutionStatus.WAITING
    await orchestrator.approve(E, choice="yes", comment="well done", by="Ann")
    assert await orchestrator.pending_approvals(E) == []
    await orchestrator.resume_pipeline(E)
    answer = await result(orchestrator, "review")
    assert answer.pop("at").endswith("+00:00")
    assert answer == {"choice": "yes", "form": None, "comment": "well done", "by": "Ann", "timed_out": False}
    assert bench.calls == ["draft", "publish"]
    assert await orchestrator.state_manager.verify() == []


async def test_what_does_not_answer_the_question_is_refused(bench: Bench, orchestrator: Orchestrator) -> None:
    form = {"type": "object", "required": ["amount"]}
    later = step("later", "approval", question="?", after="order")
    await rest(orchestrator, bench, DRAFT, REVIEW, step("order", "approval", question="?", form=form), later)

    async def refused(why: str, *what: Any, error: type[Exception] = UsageError, **more: Any) -> None:
        with pytest.raises(error, match=why):
            await orchestrator.approve(E, *what, **more)

    await refused("several steps .* say which of order, review")
    await refused("no choice 'ye'; did you mean 'yes'", "review", "ye")
    await refused("a choice is missing; there are yes, no", "review")
    await refused("it asks for no form", "review", "yes", form={})
    await refused("cannot be sent back to 'order'; it can to draft", "review", send_back="order")
    await refused("cannot be sent back: the step has no `send_back`", "order", send_back="draft")
    await refused("form: the key 'amount' is missing", "order", form={})
    await refused("asks for a form, and offers no choices", "order", "yes")
    await refused("no step named 'rewiew'.*did you mean 'review'", "rewiew", "yes")
    await refused("later' asks for no approval just now: it is pending", "later", "approve")
    await refused("at most 10,000", "review", "yes", comment="x" * 10_001)
    await orchestrator.approve(E, "review", "no", by="Ann")
    await refused("answered already, by Ann", "review", "yes")
    await orchestrator.approve(E, "order", form={"amount": 3})
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, wait=False)
    assert (await result(orchestrator, "order"))["form"] == {"amount": 3}
    await orchestrator.cancel(E)
    await refused("is cancelled: nothing in it waits", "later", "approve", error=ResumeError)


async def test_a_run_that_waits_goes_on_at_once_and_is_cancelled_at_once(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    task = asyncio.create_task(orchestrator.run_pipeline(bench.pipeline(DRAFT, REVIEW), execution_id=E))
    await wait_until(lambda: orchestrator.pending_approvals(E) if bench.calls else None, description="it asks")
    await orchestrator.approve(E, "review", send_back="draft", comment="longer")
    await wait_until(lambda: len(bench.calls) == 2, description="the draft runs again")
    await wait_until(lambda: orchestrator.pending_approvals(E), description="it asks again")
    await orchestrator.cancel(E)
    with pytest.raises(ExecutionCancelled):
        await task
    state = await orchestrator.get_state(E)
    assert (state.status, state.tasks["review"].status) == (ExecutionStatus.CANCELLED, TaskStatus.WAITING)


async def test_cancelled_while_nobody_is_at_work(bench: Bench, orchestrator: Orchestrator) -> None:
    await rest(orchestrator, bench, DRAFT, REVIEW)
    assert await orchestrator.cancel(E)
    assert (await orchestrator.get_summary(E)).status is ExecutionStatus.CANCELLED


# -- sending back ------------------------------------------------------------------------------------------------


async def test_sent_back_the_steps_between_run_again_and_no_others(bench: Bench, orchestrator: Orchestrator) -> None:
    steps = [
        step("before"),
        {**DRAFT, "dependencies": ["before"]},
        step("between", value="{{ draft.result }}!"),
        step("elsewhere", value="{{ draft.result }}"),
        step("same", value=1, after="draft"),
        {**REVIEW, "dependencies": ["between"]},
        step("end", after="review"),
    ]
    await rest(orchestrator, bench, *steps)
    bench.calls.clear()
    await orchestrator.approve(E, "review", send_back="draft", comment="shorter", by="Ann")
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, wait=False)
    assert sorted(bench.calls) == ["between", "draft", "elsewhere"]
    assert await result(orchestrator, "between") == "shorter!"
    (reset,) = [event for event in await journal(orchestrator, E) if isinstance(event, TasksReset)]
    assert (sorted(reset.tasks), reset.reason) == (["between", "draft", "review"], "sent back by Ann: shorter")
    await orchestrator.approve(E, "review", "yes")
    await orchestrator.resume_pipeline(E)
    assert bench.calls.count("draft") == 1
    assert await orchestrator.state_manager.verify() == []


async def test_what_runs_behind_the_step_is_ended_before_it_runs_again(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    slow = step("slow", "hold", value="{{ draft.result }}")
    task = asyncio.create_task(orchestrator.run_pipeline(bench.pipeline(DRAFT, slow, REVIEW), execution_id=E))
    await bench.started("slow")
    await wait_until(lambda: orchestrator.pending_approvals(E), description="it asks")
    await orchestrator.approve(E, "review", send_back="draft", comment="again")
    await wait_until(lambda: bench.calls.count("slow") == 2, description="slow runs again")
    assert bench.calls == ["draft", "slow", "draft", "slow"]
    assert bench.ended == ["slow"]
    events = await journal(orchestrator, E)
    (interrupted,) = [at for at, event in enumerate(events) if isinstance(event, TaskInterrupted)]
    (reset,) = [at for at, event in enumerate(events) if isinstance(event, TasksReset)]
    assert interrupted < reset
    bench.gate("slow").set()
    await wait_until(lambda: orchestrator.pending_approvals(E), description="it asks again")
    await orchestrator.approve(E, "review", "yes")
    await task


async def test_an_answer_to_the_earlier_question_is_none_to_this_one(bench: Bench, orchestrator: Orchestrator) -> None:
    await rest(orchestrator, bench, DRAFT, REVIEW)
    await orchestrator.approve(E, "review", send_back="draft")
    late = orchestrator._adapters.codec.encode({"choice": "yes", "attempt": 1})
    await orchestrator._adapters.store.send(E, Signal("late", "review", late, "Bob", 1.0))
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, wait=False)
    told = [event for event in await journal(orchestrator, E) if isinstance(event, DecisionMade)]
    assert told[-1].value == "refused: it answers what the step asked before"
    assert [each.attempt for each in await orchestrator.pending_approvals(E)] == [2]


# -- signals -----------------------------------------------------------------------------------------------------


async def test_signals_are_taken_once_in_their_order_also_those_that_came_before(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    schema = {"type": "integer"}
    steps = [
        step("gate", "approval", question="?"),
        step("one", "wait", signal="paid", schema=schema, after="gate"),
        step("two", "wait", signal="paid", schema=schema, after="one"),
    ]
    await rest(orchestrator, bench, *steps)
    for amount in (1, 2):
        await orchestrator.signal(E, "paid", amount, by="bank")
    wrong = orchestrator._adapters.codec.encode("much")
    await orchestrator._adapters.store.send(E, Signal("wrong", "paid", wrong, "bank", 1.0))
    await orchestrator.signal(E, "paid", 3)
    await orchestrator.signal(E, "other")
    await orchestrator.approve(E, "gate", "approve")
    await orchestrator.resume_pipeline(E)
    one, two = await result(orchestrator, "one"), await result(orchestrator, "two")
    assert (one["payload"], one["by"], two["payload"]) == (1, "bank", 2)
    state = await orchestrator.get_state(E)
    assert [signal.name for signal in state.waits.signals()] == ["paid", "paid", "other"]
    assert await orchestrator._adapters.store.signals(E) == []
    with pytest.raises(ResumeError, match="is completed: nothing in it waits"):
        await orchestrator.signal(E, "paid", 4)


async def test_a_payload_against_the_schema_is_refused_by_sender_and_engine(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    await rest(orchestrator, bench, step("one", "wait", signal="paid", schema={"type": "integer"}))
    with pytest.raises(UsageError, match="signal 'paid': "):
        await orchestrator.signal(E, "paid", "much")
    wrong = orchestrator._adapters.codec.encode("much")
    await orchestrator._adapters.store.send(E, Signal("wrong", "paid", wrong, "bank", 1.0))
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, wait=False)
    events = await journal(orchestrator, E)
    assert [event.id for event in events if isinstance(event, SignalReceived)] == ["wrong"]
    (decided,) = [event for event in events if isinstance(event, DecisionMade)]
    assert decided.value.startswith("refused: ")
    await orchestrator.signal(E, "paid", 5)
    await orchestrator.resume_pipeline(E)
    assert (await result(orchestrator, "one"))["payload"] == 5


async def test_what_is_offered_twice_is_recorded_once(bench: Bench, orchestrator: Orchestrator) -> None:
    await rest(orchestrator, bench, step("one", "wait", signal="x"), step("two", "wait", signal="x"))
    store = orchestrator._adapters.store
    await orchestrator.signal(E, "x", "first")
    (kept,) = await store.signals(E)
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, wait=False)
    await store.send(E, kept)  # as if its owner had died before it said that it was delivered
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, wait=False)
    assert await store.signals(E) == []
    assert len([event for event in await journal(orchestrator, E) if isinstance(event, SignalReceived)]) == 1


# -- time --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(orchestrator: Orchestrator) -> ManualClock:
    made = ManualClock()
    orchestrator._clock = made
    return made


async def test_the_end_of_a_wait_is_decided_once(bench: Bench, orchestrator: Orchestrator, clock: ManualClock) -> None:
    began = clock.now()
    told = await rest(orchestrator, bench, {**NAP, "parameters": {"for": "3d"}}, step("end", after="nap"))
    assert told.due == began + 3 * DAY == (await orchestrator.get_summary(E)).due
    clock.advance(DAY)
    with pytest.raises(ExecutionWaiting) as again:
        await orchestrator.resume_pipeline(E, wait=False)
    assert again.value.due == told.due
    clock.advance(2 * DAY + 1)
    await orchestrator.resume_pipeline(E)
    assert (await result(orchestrator, "nap"))["timed_out"] is False
    assert bench.calls == ["end"]
    assert len([event for event in await journal(orchestrator, E) if isinstance(event, TaskWaiting)]) == 1


async def test_when_the_time_is_over_the_default_counts_or_the_step_fails(
    bench: Bench, orchestrator: Orchestrator, clock: ManualClock
) -> None:
    steps = [
        step("a", "approval", question="?", default="reject"),
        step("s", "wait", signal="x", default={"n": 0}),
        step("f", "approval", question="?"),
        step("u", "wait", until="2001-09-09T01:46:40Z"),
    ]
    for each in steps[:3]:
        each["parameters"]["timeout"] = "1d"
    await rest(orchestrator, bench, *steps)
    assert await result(orchestrator, "u") == {"at": "2001-09-09T01:46:40+00:00", "timed_out": False}
    clock.advance(DAY + 1)
    with pytest.raises(ExecutionFailed) as failed:
        await orchestrator.resume_pipeline(E)
    assert list(failed.value.failures) == ["f"]
    state = await orchestrator.get_state(E)
    assert state.tasks["f"].error is not None
    assert state.tasks["f"].error.kind == "timeout"
    first, second = await result(orchestrator, "a"), await result(orchestrator, "s")
    assert (first["choice"], first["by"], first["timed_out"]) == ("reject", None, True)
    assert (second["payload"], second["timed_out"]) == ({"n": 0}, True)
    with pytest.raises(ExecutionWaiting):  # it asks again
        await orchestrator.resume_pipeline(E, wait=False)


async def test_time_passes_while_the_run_stays(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.run_pipeline(bench.pipeline(NAP), execution_id=E)
    assert await statuses(orchestrator, E) == {"nap": "completed"}


# -- plans -------------------------------------------------------------------------------------------------------


async def test_plans_show_what_is_waited_for_and_results_and_skips_go_on(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    await rest(orchestrator, bench, DRAFT, REVIEW, step("paid", "wait", signal="paid"), step("end", after="review"))
    plan = await orchestrator.plan(E)
    told = {each.task: (each.verb, each.reason) for each in plan.decisions}
    assert told["review"] == (Verb.WAIT, "waits for an answer: first good? [yes / no / send back to draft]")
    assert told["paid"] == (Verb.WAIT, "waits for the signal 'paid'")
    assert told["end"] == (Verb.WAIT, "behind review")
    await orchestrator.resume_pipeline(E, set_results={"review": {"choice": "yes"}}, skip=["paid"])
    assert bench.calls == ["draft", "end"]


async def test_an_edited_question_is_asked_anew_and_a_fork_asks_for_itself(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    await rest(orchestrator, bench, DRAFT, REVIEW)
    fork = await orchestrator.fork(E, execution_id="f")
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(fork, wait=False)
    other = step("review", "approval", question="{{ draft.result }} really good?", choices=["yes", "no"])
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, pipeline=bench.pipeline(DRAFT, other), wait=False)
    asked = {each.execution_id: each for each in await orchestrator.pending_approvals()}
    assert (asked["e"].question, asked["e"].attempt) == ("first really good?", 2)
    assert (asked["f"].question, asked["f"].attempt) == ("first good?", 1)
    assert bench.calls == ["draft"]


async def test_a_wait_goes_back_when_what_it_reads_runs_again(bench: Bench, orchestrator: Orchestrator) -> None:
    await rest(orchestrator, bench, DRAFT, REVIEW)
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, rerun=["draft"], wait=False)
    assert bench.calls == ["draft", "draft"]
    assert [each.attempt for each in await orchestrator.pending_approvals(E)] == [2]


# -- in containers -----------------------------------------------------------------------------------------------


async def test_items_wait_each_for_themselves(bench: Bench, orchestrator: Orchestrator) -> None:
    inside = [
        step("make", value="{{ item }}"),
        step("ask", "approval", question="{{ make.result }}?", send_back="make"),
    ]
    loop = {"id": "each", "for_each": {"items": ["a", "b", "c"], "max_parallel": 2}, "steps": inside}
    await rest(orchestrator, bench, loop)
    assert [each.step for each in await orchestrator.pending_approvals(E)] == ["each[a].ask", "each[b].ask"]
    await orchestrator.approve(E, "each[a].ask", "approve")
    await orchestrator.approve(E, "each[b].ask", send_back="make")
    with pytest.raises(ExecutionWaiting):
        await orchestrator.resume_pipeline(E, wait=False)
    assert sorted(bench.calls) == ["each[a].make", "each[b].make", "each[b].make", "each[c].make"]
    for each in await orchestrator.pending_approvals(E):
        await orchestrator.approve(E, each.step, "approve")
    await orchestrator.resume_pipeline(E)
    assert await orchestrator.state_manager.verify() == []


# -- servers -----------------------------------------------------------------------------------------------------


async def test_a_server_lets_go_and_takes_it_up_again_when_an_answer_comes(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    await orchestrator.submit(bench.pipeline(DRAFT, REVIEW, step("end", after="review")), execution_id=E)
    await orchestrator.serve(until_idle=True)
    assert (await orchestrator.get_summary(E)).status is ExecutionStatus.WAITING
    assert bench.calls == ["draft"]
    await orchestrator.approve(E, "review", "yes")
    await orchestrator.serve(until_idle=True)
    assert (await orchestrator.get_summary(E)).status is ExecutionStatus.COMPLETED
    assert bench.calls == ["draft", "end"]
