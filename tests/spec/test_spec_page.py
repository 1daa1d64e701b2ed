"""Each code block of the spec page, run as written on each store, with its effects checked."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

import orchestrator as orc
from orchestrator import CheckpointUnreadable, ExecutionFailed, NoCheckpoint, Orchestrator, ResumeStrategy, TaskStatus
from tests.everystore import STORES
from tests.spec import page
from tests.spec.steps import effects

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("page.md")

PIPELINE = """
id: my_pipeline
inputs: {user: nobody}
steps:
  - id: task1
    tool: python
    action: "tests.spec.steps:work"
    parameters: {value: data1}
  - id: task2
    tool: python
    action: "tests.spec.steps:work"
    parameters: {value: "{{ task1.result.output }}, data2"}
  - id: task3
    tool: python
    action: "tests.spec.steps:work"
    parameters: {value: "{{ task2.result.output }}, data3"}
outputs:
  all: "{{ task3.result.output }}"
"""


@pytest.fixture(params=list(STORES), autouse=True)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the settings name this kind of store; the usual one lies in the project's folder."""
    if request.param != "sqlite":
        monkeypatch.setenv("ORCHESTRATOR_STORE", STORES[request.param](request))
    kind: str = request.param
    return kind


once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""What touches no store, or this one's file."""


@pytest.fixture
async def orchestrator() -> AsyncIterator[Orchestrator]:
    async with Orchestrator() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _default_level() -> Any:
    logger = logging.getLogger("orchestrator.resume_manager")
    level = logger.level
    yield
    logger.setLevel(level)


def write(text: str = PIPELINE) -> orc.Pipeline:
    Path("pipeline.yaml").write_text(text, encoding="utf-8")
    return orc.compile("pipeline.yaml")


def last_id(scope: dict[str, Any]) -> Any:
    """Return what `execution_id` means once the pipeline has run: its handle knows."""
    return scope["pipeline"].execution_id


def run_and_die(folder: Path) -> None:
    """Run the pipeline of a folder as exec_123, in a process that one of its steps kills."""
    program = "import orchestrator as orc; orc.compile('pipeline.yaml').run_sync(execution_id='exec_123')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


@pytest.fixture(scope="module")
def grave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grave")
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "task2.kills").write_text("1")
    run_and_die(folder)
    return folder


@pytest.fixture
def killed(grave: Path) -> orc.Pipeline:
    """The working folder of the execution exec_123, whose process was killed in task2; its pipeline."""
    shutil.copytree(grave, ".", dirs_exist_ok=True)
    assert effects() == ["task1", "task2"]
    return orc.compile("pipeline.yaml")


async def fail(pipeline: orc.Pipeline, step: str, execution_id: str | None = None) -> ExecutionFailed:
    """Run a pipeline whose ``step`` fails once."""
    Path(f"{step}.fails").write_text("1")
    with pytest.raises(ExecutionFailed) as caught:
        await pipeline.run(execution_id=execution_id)
    return caught.value


# -- the page itself -----------------------------------------------------------------------------------------------


@once
def test_every_block_of_the_page_is_quoted() -> None:
    blocks = re.findall(r"^```\w+\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks == [
        page.RESUME_STRATEGIES,
        page.BASIC_RESUME,
        page.CUSTOM_RESUME_STRATEGY,
        page.CHECKING_RESUME_CAPABILITY,
        page.MANUAL_CHECKPOINTING,
        page.RESUME_HISTORY,
        page.YAML_CONFIGURATION,
        page.ERROR_HANDLING,
        page.PERIODIC_CHECKPOINTING,
        page.STATE_VALIDATION,
        page.DEBUG_MODE,
    ]
    assert len(page.BLOCKS) == len(blocks)


# -- Resume Strategies ---------------------------------------------------------------------------------------------


@once
async def test_resume_strategies() -> None:
    scope = await page.run(page.RESUME_STRATEGIES)
    assert scope["strategy"] == ResumeStrategy()  # the values shown are the defaults
    assert scope["ResumeStrategy"] is ResumeStrategy


# -- Basic Resume --------------------------------------------------------------------------------------------------


async def test_basic_resume_of_a_failed_run(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    Path("task3.fails").write_text("1")
    scope = await page.run(page.BASIC_RESUME, late={"execution_id": last_id})
    await scope["orchestrator"].close()
    assert scope["result"].status == "completed"
    assert scope["result"].outputs == {"all": "data1, data2, data3"}
    assert scope["result"].execution_id == scope["pipeline"].execution_id
    assert effects() == ["task1", "task2", "task3", "task3"]
    printed = capsys.readouterr().out
    assert printed.startswith("Pipeline failed: step 'task3' failed (attempt 1): task3 is out of luck")
    assert f"orchestrator resume {scope['pipeline'].execution_id}" in printed


async def test_basic_resume_of_a_run_that_does_not_fail(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    scope = await page.run(page.BASIC_RESUME)
    assert scope["result"].outputs == {"all": "data1, data2, data3"}
    assert "orchestrator" not in scope
    assert capsys.readouterr() == ("", "")  # init_models, compile and run print nothing


# -- Custom Resume Strategy ----------------------------------------------------------------------------------------


@once
@pytest.mark.usefixtures("killed")
async def test_custom_resume_strategy_after_a_kill() -> None:
    scope = await page.run(page.CUSTOM_RESUME_STRATEGY)
    async with scope["orchestrator"] as orchestrator:
        state = await orchestrator.get_state("exec_123")
    assert scope["result"].outputs == {"all": "data1, data2, data3"}
    assert effects() == ["task1", "task2", "task2", "task3"]
    assert (state.strategy["max_retry_attempts"], state.strategy["checkpoint_interval_seconds"]) == (5, 30)


@pytest.mark.slow  # a server knows of a killed owner when its lease is over
@pytest.mark.parametrize("store", ["postgres", "redis"], indirect=True)
async def test_custom_resume_strategy_after_a_kill_on_a_server() -> None:
    write()
    Path("orchestrator.toml").write_text("lease = 2\n", encoding="utf-8")
    Path("task2.kills").write_text("1")
    run_and_die(Path())
    async with Orchestrator() as watching:
        async with asyncio.timeout(30):
            alive = True
            while alive:
                await asyncio.sleep(0.05)
                holder = (await watching.get_summary("exec_123")).holder
                alive = holder is not None and holder.alive
    scope = await page.run(page.CUSTOM_RESUME_STRATEGY)
    await scope["orchestrator"].close()
    assert scope["result"].outputs == {"all": "data1, data2, data3"}
    assert effects() == ["task1", "task2", "task2", "task3"]


async def test_the_custom_strategy_releases_a_task_that_used_up_the_default_one(orchestrator: Orchestrator) -> None:
    pipeline = write()
    Path("task1.fails").write_text("4")
    with pytest.raises(ExecutionFailed):
        await pipeline.run(execution_id="exec_123")
    for _ in range(3):
        with pytest.raises(ExecutionFailed):
            await orchestrator.resume_pipeline("exec_123")
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.resume_pipeline("exec_123")  # parked: nothing runs
    assert caught.value.parked == ("task1",)
    assert effects() == ["task1"] * 4
    scope = await page.run(page.CUSTOM_RESUME_STRATEGY)
    await scope["orchestrator"].close()
    assert scope["result"].status == "completed"
    assert effects() == ["task1"] * 5 + ["task2", "task3"]


# -- Checking Resume Capability ------------------------------------------------------------------------------------


async def test_checking_resume_capability(orchestrator: Orchestrator, capsys: pytest.CaptureFixture[str]) -> None:
    await fail(write(), "task3", "exec_123")
    scope = await page.run(page.CHECKING_RESUME_CAPABILITY, orchestrator=orchestrator)
    assert scope["can_resume"] is True
    assert capsys.readouterr().out == "Completed tasks: 2\nFailed tasks: 1\n"
    state = scope["resume_state"]
    assert state.task_results == {"task1": {"output": "data1"}, "task2": {"output": "data1, data2"}}
    assert state.failed_tasks == {"task3": 1}
    assert list(scope["pipeline"].tasks) == ["task1", "task2", "task3"]


@pytest.mark.parametrize("completed", [False, True])
async def test_checking_says_no_for_unknown_and_completed_executions(
    orchestrator: Orchestrator, completed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if completed:
        await write().run(execution_id="exec_123")
    scope = await page.run(page.CHECKING_RESUME_CAPABILITY, orchestrator=orchestrator)
    assert scope["can_resume"] is False
    assert capsys.readouterr().out == ""


# -- Manual Checkpointing ------------------------------------------------------------------------------------------


async def test_manual_checkpointing_of_an_execution_that_only_the_caller_knows(orchestrator: Orchestrator) -> None:
    pipeline = write(PIPELINE.replace('all: "', 'all: "{{ execution.context.user }}: '))
    scope = await page.run(page.MANUAL_CHECKPOINTING, orchestrator=orchestrator, pipeline=pipeline)
    assert re.fullmatch(r"exec_123@\d+", scope["checkpoint_id"])
    _, state = await orchestrator.resume_manager.get_resume_state("exec_123")
    assert state.completed_tasks == {"task1", "task2"}
    assert state.task_results == {"task1": {"output": "data1"}, "task2": {"output": "data2"}}
    assert state.context == {"user": "john_doe"}
    assert state.failed_tasks == {"task3": 1}
    result = await orchestrator.resume_pipeline("exec_123")
    assert effects() == ["task3"]
    assert result.outputs == {"all": "john_doe: data2, data3"}


@once
async def test_manual_checkpointing_of_a_run_that_died(orchestrator: Orchestrator, killed: orc.Pipeline) -> None:
    await page.run(page.MANUAL_CHECKPOINTING, orchestrator=orchestrator, pipeline=killed)
    result = await orchestrator.resume_pipeline("exec_123")
    assert effects() == ["task1", "task2", "task3"]  # task2 is done: the caller says so
    assert result.outputs == {"all": "data2, data3"}


async def test_a_manual_checkpoint_is_one_to_go_back_to(orchestrator: Orchestrator) -> None:
    pipeline = write()
    scope = await page.run(page.MANUAL_CHECKPOINTING, orchestrator=orchestrator, pipeline=pipeline)
    restored = await orchestrator.state_manager.restore_checkpoint(scope["checkpoint_id"])
    assert restored["state"] == {"user": "john_doe"}
    assert restored["reason"] == "manual"
    await orchestrator.resume_pipeline("exec_123")
    await orchestrator.resume_pipeline("exec_123", from_checkpoint=scope["checkpoint_id"])
    assert effects() == ["task3", "task3"]


# -- Resume History ------------------------------------------------------------------------------------------------


async def test_resume_history(orchestrator: Orchestrator, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = write()
    await pipeline.run(execution_id="first")
    await fail(pipeline, "task2", "second")
    scope = await page.run(page.RESUME_HISTORY, orchestrator=orchestrator)
    history = scope["history"]
    assert [entry["execution_id"] for entry in history] == ["second"] * 3 + ["first"] * 4
    assert [(entry["reason"], entry["completed_count"]) for entry in history] == [
        ("error", 1), ("task", 1), ("start", 0), ("task", 3), ("task", 2), ("task", 1), ("start", 0),
    ]  # fmt: skip
    times = [entry["timestamp"] for entry in history]
    assert times == sorted(times, reverse=True)
    assert all(time.tzinfo is UTC and abs((datetime.now(UTC) - time).total_seconds()) < 60 for time in times)
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"Checkpoint: {history[0]['checkpoint_id']}",
        f"Timestamp: {times[0]}",
        "Progress: 1/3",
    ]


async def test_resume_history_has_its_limit(orchestrator: Orchestrator) -> None:
    pipeline = write()
    for _ in range(3):
        await pipeline.run()
    scope = await page.run(page.RESUME_HISTORY, orchestrator=orchestrator)
    assert len(scope["history"]) == 10


# -- YAML Configuration --------------------------------------------------------------------------------------------


async def test_yaml_configuration(orchestrator: Orchestrator) -> None:
    Path("data").mkdir()
    Path("data/input.csv").write_text("city,people\nRome,3\n", encoding="utf-8")
    pipeline = write(page.YAML_CONFIGURATION)
    definition = pipeline.definition
    assert (definition.id, definition.name, definition.version) == (
        "resumable_pipeline",
        "Pipeline with Resume Support",
        "1.0.0",
    )
    assert definition.resume_enabled
    assert definition.resume == ResumeStrategy(
        checkpoint_interval_seconds=30, max_retry_attempts=3, retry_failed_tasks=True
    )
    assert [task.critical for task in pipeline.tasks.values()] == [True, False]
    result = await pipeline.run()
    assert result.statuses == {"data_fetch": "completed", "process_data": "completed"}
    read = await orchestrator.get_result(result.execution_id, "data_fetch")
    assert "Rome,3" in str(read)
    state = await orchestrator.get_state(result.execution_id)
    assert state.strategy == definition.resume.to_dict()


async def test_yaml_enabled_false_makes_no_checkpoints(orchestrator: Orchestrator) -> None:
    pipeline = write(PIPELINE + "resume: {enabled: false}\n")
    error = await fail(pipeline, "task2")
    assert str(error).endswith("\nit cannot be resumed: its pipeline says resume.enabled: false")
    assert error.resume_command == ""
    assert await orchestrator.state_manager.list_checkpoints(error.execution_id) == []
    assert not await orchestrator.resume_manager.can_resume(error.execution_id)
    with pytest.raises(NoCheckpoint, match=r"^No resume checkpoint found.*resume\.enabled: false"):
        await orchestrator.resume_pipeline(error.execution_id)


async def test_yaml_max_retries_parks_a_step(orchestrator: Orchestrator) -> None:
    error = await fail(write(PIPELINE + "resume: {max_retries: 0}\n"), "task2")
    assert error.parked == ("task2",)
    assert "--retry task2" in str(error)
    assert "--skip task2" in str(error)
    with pytest.raises(ExecutionFailed):
        await orchestrator.resume_pipeline(error.execution_id)
    assert effects() == ["task1", "task2"]


async def test_yaml_retry_failed_false_leaves_failed_steps(orchestrator: Orchestrator) -> None:
    error = await fail(write(PIPELINE + "resume: {retry_failed: false}\n"), "task2")
    with pytest.raises(ExecutionFailed):
        await orchestrator.resume_pipeline(error.execution_id)
    assert effects() == ["task1", "task2"]


async def test_yaml_checkpoint_interval_is_how_often_progress_is_kept(orchestrator: Orchestrator) -> None:
    write("""
id: my_pipeline
resume: {checkpoint_interval: 20ms}
steps:
  - {id: slow, tool: python, action: "tests.spec.test_spec_page:slow"}
""")
    result = await orc.compile("pipeline.yaml").run()
    checkpoints = await orchestrator.state_manager.list_checkpoints(result.execution_id)
    assert {checkpoint["reason"] for checkpoint in checkpoints} == {"start", "task", "periodic"}


async def slow() -> None:
    """A step of 0.1 seconds, so that its pipeline's interval passes."""
    await asyncio.sleep(0.1)


# -- Error Handling ------------------------------------------------------------------------------------------------


async def error_handling(pipeline: orc.Pipeline, orchestrator: Orchestrator) -> Any:
    return await page.run(
        page.ERROR_HANDLING,
        late={"execution_id": last_id},
        pipeline=pipeline,
        orchestrator=orchestrator,
        asyncio=asyncio,
        logger=logging.getLogger("my.program"),
        retry_delay=0.001,
        ResumeStrategy=ResumeStrategy,
    )


async def test_error_handling_resumes(orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = write()
    Path("task3.fails").write_text("1")
    scope = await error_handling(pipeline, orchestrator)
    assert scope["result"].outputs == {"all": "data1, data2, data3"}
    assert effects() == ["task1", "task2", "task3", "task3"]
    assert (await orchestrator.get_state(scope["result"].execution_id)).strategy["max_retry_attempts"] == 5
    assert "Pipeline failed: step 'task3' failed" in caplog.text


async def test_error_handling_starts_afresh_without_a_checkpoint(orchestrator: Orchestrator) -> None:
    pipeline = write(PIPELINE + "resume: {enabled: false}\n")
    Path("task3.fails").write_text("1")
    scope = await error_handling(pipeline, orchestrator)
    assert "strategy" not in scope
    assert scope["result"].status == "completed"
    assert effects() == ["task1", "task2", "task3"] * 2


# -- Periodic Checkpointing ----------------------------------------------------------------------------------------


async def test_periodic_checkpointing(orchestrator: Orchestrator) -> None:
    pipeline = write()
    states = itertools.chain(
        [{"completed_tasks": {"task1"}, "task_results": {"task1": {"output": "a"}}, "context": {"round": 1}}],
        itertools.repeat(
            {
                "completed_tasks": {"task1", "task2"},
                "task_results": {"task1": {"output": "a"}, "task2": {"output": "b"}},
                "context": {"round": 2},
                "failed_tasks": {"task3": 1},
            }
        ),
    )
    await page.run(
        page.PERIODIC_CHECKPOINTING,
        orchestrator=orchestrator,
        pipeline=pipeline,
        get_current_state=lambda: next(states),
    )
    checkpoints = await orchestrator.state_manager.list_checkpoints("exec_123")
    periodic = [entry for entry in checkpoints if entry["reason"] == "periodic"]
    assert [entry["completed_count"] for entry in periodic] == [2, 1]  # one when it began, one when it ended
    _, state = await orchestrator.resume_manager.get_resume_state("exec_123")
    assert (state.context, state.failed_tasks) == ({"round": 2}, {"task3": 1})
    result = await orchestrator.resume_pipeline("exec_123")
    assert effects() == ["task3"]
    assert result.outputs == {"all": "b, data3"}


# -- State Validation ----------------------------------------------------------------------------------------------


async def test_state_validation_of_a_sound_checkpoint(orchestrator: Orchestrator) -> None:
    error = await fail(write(), "task3")
    scope = await page.run(
        page.STATE_VALIDATION,
        orchestrator=orchestrator,
        strategy=ResumeStrategy(),
        execution_id=error.execution_id,
    )
    assert scope["resume_state"].completed_tasks == {"task1", "task2"}
    assert scope["task_id"] in scope["pipeline"].tasks


@once
async def test_state_validation_is_left_out_when_it_is_off() -> None:
    scope = await page.run(page.STATE_VALIDATION, strategy=ResumeStrategy(validate_checkpoint_integrity=False))
    assert "pipeline" not in scope


@once
async def test_state_validation_names_an_unknown_task() -> None:
    class Manager:
        async def get_resume_state(self, execution_id: str) -> tuple[Any, Any]:
            assert execution_id == "exec_123"
            return type("P", (), {"tasks": {}}), type("S", (), {"completed_tasks": {"ghost"}})

    with pytest.raises(ValueError, match="Invalid checkpoint: unknown task ghost"):
        await page.run(
            page.STATE_VALIDATION,
            orchestrator=type("O", (), {"resume_manager": Manager()}),
            strategy=ResumeStrategy(),
            execution_id="exec_123",
        )


# -- Debug Mode ----------------------------------------------------------------------------------------------------


async def test_debug_mode(
    orchestrator: Orchestrator, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = write()
    error = await fail(pipeline, "task3")
    name = error.execution_id
    scope = await page.run(page.DEBUG_MODE, orchestrator=orchestrator, execution_id=name)
    reasons = [entry["metadata"]["reason"] for entry in scope["checkpoints"]]
    assert reasons == ["error", "task", "task", "start"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Checkpoint: {scope['checkpoints'][0]['checkpoint_id']}"
    assert re.search(r"^Metadata: \{.*'error': 'task3 is out of luck'", lines[1])
    await orchestrator.resume_pipeline(name)
    told = [record.getMessage() for record in caplog.records if record.name == "orchestrator.resume_manager"]
    assert any(re.search(r"reuse task1: completed at seq \d+", line) for line in told)
    assert any(re.search(r"reuse task2: completed at seq \d+", line) for line in told)
    assert any("rerun task3: failed 1x: task3 is out of luck" in line for line in told)
    assert any("every record and value verified" in line for line in told)


# -- Key Features, "Automatic Checkpointing" -----------------------------------------------------------------------


async def reasons(orchestrator: Orchestrator, name: str) -> list[tuple[str, str | None, int]]:
    found = await orchestrator.state_manager.list_checkpoints(name)
    return [(entry["reason"], entry["task"], entry["completed_count"]) for entry in reversed(found)]


async def test_task_level_and_error_checkpoints(orchestrator: Orchestrator) -> None:
    """Task-level checkpoints after each completion; error checkpoints on failures."""
    error = await fail(write(), "task3")
    assert await reasons(orchestrator, error.execution_id) == [
        ("start", None, 0),
        ("task", "task1", 1),
        ("task", "task2", 2),
        ("error", "task3", 2),
    ]


@once
async def test_periodic_checkpoints_of_a_long_step_are_what_it_goes_on_from(orchestrator: Orchestrator) -> None:
    """Periodic checkpoints: a step that is killed goes on from its last one. Critical: from its last save."""
    write("""
id: my_pipeline
steps:
  - id: long
    tool: python
    action: "tests.spec.steps:loop"
    parameters: {rounds: 6}
    resume: {critical: true}
outputs: {rounds: "{{ long.result }}"}
""")
    Path("long.kills").write_text("4")
    run_and_die(Path())
    before = [int(effect.split(":")[1]) for effect in effects()]
    assert before == [0, 1, 2, 3, 4]
    result = await orchestrator.resume_pipeline("exec_123")
    again = [int(effect.split(":")[1]) for effect in effects()][len(before) :]
    assert result.outputs == {"rounds": [0, 1, 2, 3, 4, 5]}
    assert again[-1] == 5
    assert len(again) < 6  # not from the start


# -- Resume States -------------------------------------------------------------------------------------------------


async def test_completed_tasks_are_preserved_with_their_results(orchestrator: Orchestrator) -> None:
    error = await fail(write(), "task3")
    await orchestrator.resume_pipeline(error.execution_id)
    assert effects().count("task1") == 1
    assert await orchestrator.get_result(error.execution_id, "task1") == {"output": "data1"}


async def test_completed_tasks_run_again_when_they_are_not_preserved(orchestrator: Orchestrator) -> None:
    error = await fail(write(), "task3")
    await orchestrator.resume_pipeline(error.execution_id, ResumeStrategy(preserve_completed_tasks=False))
    assert effects() == ["task1", "task2", "task3"] * 2


async def test_failed_tasks_are_tracked_with_retry_counts(orchestrator: Orchestrator) -> None:
    error = await fail(write(), "task3")
    counts = []
    for _ in range(2):
        _, state = await orchestrator.resume_manager.get_resume_state(error.execution_id)
        counts.append(state.failed_tasks)
        Path("task3.fails").write_text("1")
        with pytest.raises(ExecutionFailed):
            await orchestrator.resume_pipeline(error.execution_id)
    assert counts == [{"task3": 1}, {"task3": 2}]


@once
@pytest.mark.usefixtures("killed")
async def test_running_tasks_are_reset(orchestrator: Orchestrator) -> None:
    _, state = await orchestrator.resume_manager.get_resume_state("exec_123")
    assert state.running_tasks == {"task2"}
    assert (await orchestrator.resume_pipeline("exec_123")).status == "completed"


@once
@pytest.mark.usefixtures("killed")
async def test_running_tasks_are_marked_as_failed_when_they_are_not_reset(orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionFailed, match="it was running when the process ended"):
        await orchestrator.resume_pipeline("exec_123", ResumeStrategy(reset_running_tasks=False))
    assert effects() == ["task1", "task2"]
    state = await orchestrator.get_state("exec_123")
    assert [task.status for task in state.tasks.values()] == [
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.PENDING,
    ]


@once
@pytest.mark.usefixtures("killed")
async def test_task_results_are_maintained_across_resumes(orchestrator: Orchestrator) -> None:
    Path("task3.fails").write_text("1")
    with pytest.raises(ExecutionFailed):
        await orchestrator.resume_pipeline("exec_123")
    _, state = await orchestrator.resume_manager.get_resume_state("exec_123")
    assert state.task_results == {"task1": {"output": "data1"}, "task2": {"output": "data1, data2"}}
    assert (await orchestrator.resume_pipeline("exec_123")).outputs == {"all": "data1, data2, data3"}


async def test_the_execution_context_is_restored_completely(orchestrator: Orchestrator) -> None:
    """Inputs, the caller's context, ids and facts of the execution are what they were."""
    pipeline = write(
        PIPELINE.replace(
            '{value: "{{ task2.result.output }}, data3"}',
            '{value: "{{ inputs.user }} {{ execution.id }} {{ execution.is_resume }} {{ execution.context.tone }}"}',
        )
    )
    Path("task2.fails").write_text("1")
    with pytest.raises(ExecutionFailed):
        await pipeline.run(execution_id="exec_123", user="john_doe")
    await orchestrator.resume_manager.create_resume_checkpoint("exec_123", context={"tone": "kind"})
    _, state = await orchestrator.resume_manager.get_resume_state("exec_123")
    assert (state.inputs, state.context) == ({"user": "john_doe"}, {"tone": "kind"})
    result = await orchestrator.resume_pipeline("exec_123")
    assert result.outputs == {"all": "john_doe exec_123 True kind"}


# -- Best Practices ------------------------------------------------------------------------------------------------


async def test_critical_tasks_always_checkpoint(orchestrator: Orchestrator) -> None:
    for critical, expected in ((True, [("start", None, 0), ("task", "fetch", 1)]), (False, [("start", None, 0)])):
        pipeline = write(f"""
id: critical-{critical}
steps:
  - id: fetch
    tool: python
    action: "tests.spec.steps:work"
    resume: {{critical: {str(critical).lower()}, checkpoint: none}}
""")
        result = await pipeline.run()
        assert await reasons(orchestrator, result.execution_id) == expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("before", [("before", 0)]),
        ("after", [("task", 1)]),
        ("both", [("before", 0), ("task", 1)]),
        ("none", []),
    ],
)
async def test_checkpoint_before_and_after_a_step(
    orchestrator: Orchestrator, when: str, expected: list[tuple[str, int]]
) -> None:
    """Resource-intensive: before and after heavy computations. External calls: before them."""
    pipeline = write(f"""
id: heavy
steps:
  - {{id: compute, tool: python, action: "tests.spec.steps:work", resume: {{checkpoint: {when}}}}}
""")
    result = await pipeline.run()
    found = await reasons(orchestrator, result.execution_id)
    assert found == [("start", None, 0), *((reason, "compute", count) for reason, count in expected)]


@once
async def test_large_states_are_compressed(orchestrator: Orchestrator) -> None:
    pipeline = write(PIPELINE.replace("{value: data1}", f"{{value: {'word ' * 40_000}}}"))
    await pipeline.run()
    statistics = await orchestrator.state_manager.get_statistics()
    assert statistics["database_bytes"] + statistics["blob_bytes"] < 150_000  # of more than 600,000


async def test_old_checkpoints_are_cleaned(orchestrator: Orchestrator) -> None:
    pipeline = write()
    for name in ("one", "two", "three"):
        await pipeline.run(execution_id=name)
    error = await fail(pipeline, "task3")
    assert await orchestrator.state_manager.cleanup(keep_last=1) == ["two", "one"]
    left = {summary.execution_id for summary in await orchestrator.list_executions()}
    assert left == {"three", error.execution_id}
    assert (await orchestrator.resume_pipeline(error.execution_id)).status == "completed"


@once
async def test_a_newer_format_is_refused(orchestrator: Orchestrator) -> None:
    """Version compatibility: what a newer version wrote is not read as anything else."""
    error = await fail(write(), "task3")
    damage(lambda record: record[:4] + bytes([record[4] + 2]) + record[5:])
    with pytest.raises(CheckpointUnreadable, match=r"^Failed to load resume state.*newer version") as caught:
        await orchestrator.resume_pipeline(error.execution_id)
    assert caught.value.exit_code == 8


# -- Performance Considerations ------------------------------------------------------------------------------------


@once
async def test_the_storage_backend_is_chosen_by_url() -> None:
    pipeline = write()
    async with Orchestrator("sqlite:///elsewhere/store.db") as there:
        result = await pipeline.run(orchestrator=there)
        assert (await there.list_executions())[0].execution_id == result.execution_id
    assert Path("elsewhere/store.db").exists()
    assert not Path(".orchestrator").exists()


# -- Troubleshooting -----------------------------------------------------------------------------------------------


def damage(change: Callable[[bytes], bytes]) -> None:
    """Change the last record of the journal in the file."""
    db = apsw.Connection(".orchestrator/store.db")
    row: Any = db.execute("SELECT position, record FROM journal ORDER BY position DESC LIMIT 1").fetchone()
    db.execute("UPDATE journal SET record = ? WHERE position = ?", (change(row[1]), row[0]))
    db.close()


async def test_no_resume_checkpoint_found(orchestrator: Orchestrator) -> None:
    """Unknown id, cleaned up, or disabled: the message says so, and what to check."""
    result = await write().run()
    await orchestrator.state_manager.cleanup()
    for name in ("exec_unknown", result.execution_id):
        assert not await orchestrator.resume_manager.can_resume(name)
        for attempt in (orchestrator.resume_pipeline, orchestrator.resume_manager.get_resume_state):
            with pytest.raises(NoCheckpoint, match=r"^No resume checkpoint found for execution") as caught:
                await attempt(name)
            assert name in str(caught.value)
            assert "orchestrator list" in str(caught.value)
            assert "checkpointing was enabled" in str(caught.value)
            assert "pruned" in str(caught.value)
            assert caught.value.exit_code == 3


@once
async def test_failed_to_load_resume_state(orchestrator: Orchestrator) -> None:
    error = await fail(write(), "task3")
    name = error.execution_id
    damage(lambda record: record[:-1] + bytes([record[-1] ^ 1]))
    attempts: list[Callable[[str], Any]] = [
        orchestrator.resume_pipeline,
        orchestrator.resume_manager.get_resume_state,
        orchestrator.resume_manager.can_resume,
        orchestrator.resume_manager.validate,
    ]
    for attempt in attempts:
        with pytest.raises(CheckpointUnreadable, match=r"^Failed to load resume state of execution") as caught:
            await attempt(name)
        assert f"{name}@" in str(caught.value)  # the damaged record's name
        for hint in ("orchestrator verify", "permissions", "version"):
            assert hint in str(caught.value)
        assert caught.value.exit_code == 7
    assert effects() == ["task1", "task2", "task3"]
    assert any(name in problem for problem in await orchestrator.state_manager.verify())


@once
async def test_state_manager_health(orchestrator: Orchestrator) -> None:
    await write().run()
    assert await orchestrator.state_manager.is_healthy()
    await asyncio.sleep(0.11)  # the store looks at its file no more often than every tenth of a second
    Path(".orchestrator/store.db").unlink()
    assert not await orchestrator.state_manager.is_healthy()


async def test_resume_loops_end_and_say_how_to_go_on(orchestrator: Orchestrator) -> None:
    """A task that keeps failing is parked after max_retry_attempts; a higher maximum or a skip lets it go on."""
    pipeline = write()
    Path("task2.fails").write_text("100")
    with pytest.raises(ExecutionFailed) as caught:
        await pipeline.run()
    name = caught.value.execution_id
    for _ in range(4):
        with pytest.raises(ExecutionFailed):
            await orchestrator.resume_pipeline(name)
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.resume_pipeline(name)
    assert effects().count("task2") == 4  # the first try and three retries
    assert "task2 is out of luck" in str(caught.value)  # its last error
    with pytest.raises(ExecutionFailed):  # increase max_retry_attempts
        await orchestrator.resume_pipeline(name, ResumeStrategy(max_retry_attempts=4))
    assert effects().count("task2") == 5
    state = await orchestrator.get_state(name)
    known = next(task for key, task in state.tasks.items() if key == "task2")
    assert known.error is not None
    assert "out of luck" in known.error.trace  # check task error logs
    with pytest.raises(ExecutionFailed, match="task3"):  # skipped: its result is None, which task3 cannot read
        await orchestrator.resume_pipeline(name, skip=["task2"])
