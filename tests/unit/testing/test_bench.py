from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

import orchestrator as orc
from orchestrator.crashpoints import POINTS
from orchestrator.testing import Bench, ManualClock, in_turn, run_pipeline
from orchestrator.testing.loop import StandsStill

HOUR = 3600.0


def real(rows: list[int]) -> int:
    with Path("effects").open("a") as log:
        log.write("real\n")
    time.sleep(0.01)  # it is work, not waiting
    return sum(rows)


def chain(**settings: Any) -> orc.Pipeline:
    retry = orc.RetryPolicy(max_attempts=3, delay_seconds=HOUR, backoff=2, max_delay_seconds=24 * HOUR, jitter=False)
    return orc.Pipeline(
        id="chain",
        inputs=[orc.Input("user", "string", default="nobody")],
        tasks=[
            orc.Task("fetch", "shell", parameters={"command": ["curl", "{{ inputs.user }}"]}, retry=retry, **settings),
            orc.Task("add", "python", f"{__name__}:real", {"rows": "{{ fetch.result.rows }}"}),
            orc.Task("send", "shell", parameters={"command": ["mail", "{{ add.result }}"]}),
        ],
        outputs={"total": "{{ add.result }}", "sent": "{{ send.result }}"},
    )


FAKES = {"fetch": {"rows": [1, 2, 3]}, "send": lambda command: f"told {command[1]}"}
NOT_PASSED = ("_blob", "_resume", "_admission", "_signal", "_expand", "_gather")
"""The ends of the points that a chain of steps does not pass while it runs."""


def test_fakes_answer_for_steps_and_the_others_are_run() -> None:
    run = run_pipeline(chain(), {"user": "ada"}, fakes=FAKES)
    assert (run.status, run.error) == ("completed", None)
    assert run.outputs == {"total": 6, "sent": "told 6"}
    assert run.results == {"fetch": {"rows": [1, 2, 3]}, "add": 6, "send": "told 6"}
    assert set(run.statuses.values()) == {"completed"}
    assert [(call.step, call.faked) for call in run.calls] == [("fetch", True), ("add", False), ("send", True)]
    assert run.calls_of("fetch")[0].parameters == {"command": ["curl", "ada"]}
    assert not Path(".orchestrator").exists()


def test_hours_of_waiting_pass_at_once_and_are_counted() -> None:
    began = time.monotonic()
    bench = Bench(chain(), FAKES | {"fetch": in_turn(OSError("down"), TimeoutError, {"rows": [4]})})
    run = bench.run()
    assert run.outputs["total"] == 4
    assert run.order == ["fetch", "fetch", "fetch", "add", "send"]
    assert [round(call.at) for call in run.calls_of("fetch")] == [0, HOUR, 3 * HOUR]
    assert 3 * HOUR <= run.seconds < 3 * HOUR + 60
    assert time.monotonic() - began < 30


def test_a_fake_that_sleeps_longer_than_the_steps_timeout_times_out() -> None:
    async def slow(command: list[str]) -> None:
        await asyncio.sleep(2 * HOUR)
        raise AssertionError(command)

    run = run_pipeline(chain(timeout=HOUR), fakes={"fetch": in_turn(slow, {"rows": [1]}), "send": "ok"})
    assert run.status == "completed"
    assert [round(call.at) for call in run.calls_of("fetch")] == [0, 2 * HOUR]
    failed = run_pipeline(chain(timeout=HOUR), fakes={"fetch": slow})
    assert failed.failures == {"fetch": "no result after 3600 s, the step's timeout"}
    assert failed.statuses["add"] == "pending"
    assert isinstance(failed.error, orc.ExecutionFailed)


def test_a_mended_fake_lets_the_resume_go_on_where_the_run_failed() -> None:
    bench = Bench(chain(), FAKES | {"send": ConnectionError("no mail")})
    assert bench.run().failures == {"send": "no mail"}
    bench.fakes["send"] = "sent"
    run = bench.resume()
    assert (run.status, run.order, run.outputs["sent"]) == ("completed", ["send"], "sent")
    assert [call.step for call in bench.calls] == ["fetch", "add", "send", "send"]
    assert Path("effects").read_text() == "real\n"


@pytest.mark.parametrize("point", [name for name in POINTS if not name.endswith(NOT_PASSED)])
def test_it_can_be_killed_at_every_point_and_no_recorded_step_is_repeated(point: str) -> None:
    bench = Bench(chain(), FAKES)
    crashed = bench.run(crash=point)
    assert crashed.status == "crashed"
    recorded = set(crashed.results)
    resumed = bench.resume()
    assert resumed.outputs == {"total": 6, "sent": "told 6"}
    assert recorded.isdisjoint(resumed.order)
    assert resumed.status == "completed"


def test_killed_before_admission_there_is_nothing_and_after_it_everything() -> None:
    bench = Bench(chain(), FAKES)
    assert bench.run(crash="before_admission").statuses == {}
    with pytest.raises(orc.NoCheckpoint):
        bench.resume()
    assert bench.run(crash="after_admission").statuses["fetch"] == "pending"
    assert bench.resume(crash="after_resume").order == []
    assert bench.resume(crash="after_effect:2").results == {"fetch": {"rows": [1, 2, 3]}}
    assert bench.resume().order == ["add", "send"]


def test_a_dead_process_records_nothing_though_its_threads_run_on() -> None:
    bench = Bench(chain(), {**FAKES, "send": "sent"})
    crashed = bench.run(crash="before_effect:2")
    assert crashed.order == ["fetch", "add"]
    assert "add" not in crashed.results
    assert bench.resume().order == ["add", "send"]


@pytest.mark.parametrize(
    ("crash", "message"),
    [
        ("after_efect", r"no point of that name \(did you mean 'after_effect'\?\)"),
        ("after_effect:x", "a number may follow it: after_effect:2"),
        ("after_effect:9", "the run ended before that; it passed after_effect 3 times"),
        ("after_blob", "it passed after_blob 0 times"),
    ],
)
def test_a_crash_that_cannot_happen_or_did_not_is_told(crash: str, message: str) -> None:
    with pytest.raises(orc.UsageError, match=message):
        run_pipeline(chain(), fakes=FAKES, crash=crash)


def test_what_is_wrong_with_a_test_is_told() -> None:
    with pytest.raises(orc.UsageError, match=r"no step 'fetsh' \(did you mean 'fetch'\?\)"):
        run_pipeline(chain(), fakes={"fetsh": 1})
    with pytest.raises(orc.DefinitionError, match="user"):
        run_pipeline(chain(), {"user": 3}, fakes=FAKES)
    strict = run_pipeline(chain(), fakes=FAKES, strict=True)
    assert "step 'add' has no fake" in strict.failures["add"]
    assert not Path("effects").exists()
    wrong = run_pipeline(chain(), fakes={"fetch": {"rows": "none"}, "add": 1})
    assert "rows" in wrong.failures["add"]  # as the function itself would refuse it
    unstorable = run_pipeline(chain(), fakes={"fetch": {"rows": [object()]}})
    assert "rows[0]" in unstorable.failures["fetch"]
    with pytest.raises(TypeError):
        in_turn()

    async def never(command: list[str]) -> None:
        await asyncio.Event().wait()
        raise AssertionError(command)

    with pytest.raises(StandsStill, match="does a fake never return"):
        Bench(chain(), {"fetch": never}, longest_seconds=24 * HOUR).run()


def test_a_fake_has_the_context_if_it_takes_one() -> None:
    def fake(command: list[str], context: orc.TaskContext) -> dict[str, Any]:
        if context.saved is None:
            context.save({"page": 3})
            raise ConnectionError(command[0])
        return {"rows": [context.saved["page"], context.attempt]}

    assert run_pipeline(chain(), fakes=FAKES | {"fetch": fake}).outputs["total"] == 5


def test_a_test_never_sees_the_real_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SECRET_TOKEN", "the-real-thing")
    given = {"A": "{{ secrets.TOKEN }}", "B": "{{ secrets.OTHER }}"}
    step = orc.Task("ask", "shell", parameters={"command": ["curl"], "env": given})
    bench = Bench(orc.Pipeline(id="p", tasks=[step]), {"ask": "ok"}, secrets={"TOKEN": "told-by-the-test"})
    (call,) = bench.run().calls
    assert call.parameters["env"] == {"A": "told-by-the-test", "B": "secret-OTHER-of-the-test"}


def test_an_edit_is_planned_and_resumed_on_the_bench() -> None:
    bench = Bench(chain(), FAKES)
    bench.run()
    tasks = list(chain().tasks.values())
    tasks[2] = orc.Task("send", "shell", parameters={"command": ["fax", "{{ add.result }}"]})
    edited = orc.Pipeline(id="chain", tasks=tasks, inputs=chain().inputs, outputs=chain().definition.outputs)
    plan = bench.plan(pipeline=edited)
    assert [str(each.verb) for each in plan.decisions] == ["reuse", "reuse", "rerun"]
    run = bench.resume(pipeline=edited, expect=plan)
    assert [call.parameters["command"] for call in run.calls] == [["fax", 6]]


async def test_it_works_where_an_event_loop_runs() -> None:
    assert run_pipeline(chain(), fakes=FAKES).status == "completed"
    with pytest.raises(orc.UsageError):
        run_pipeline(chain(), fakes={"nope": 1})


def test_two_runs_of_the_same_seed_are_the_same() -> None:
    def tried(seed: int) -> list[float]:
        flaky = orc.Task("a", "shell", parameters={"command": ["x"]}, retry=orc.RetryPolicy(4, 100.0))
        clock = ManualClock()
        bench = Bench(
            orc.Pipeline(id="p", tasks=[flaky]), {"a": in_turn(OSError, OSError, OSError, 1)}, seed=seed, clock=clock
        )
        return [call.at for call in bench.run().calls]

    assert tried(1) == tried(1)
    assert tried(1) != tried(2)
