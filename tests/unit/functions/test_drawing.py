from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import orchestrator as orc
from orchestrator import Orchestrator
from orchestrator.functions.naming import address_of
from orchestrator.functions.pipeline import PipelineOptions
from orchestrator.functions.task import StepOptions
from orchestrator.testing import Bench, run_pipeline
from tests.unit.functions import flows


def test_functions_draw_the_pipeline_that_a_file_declares() -> None:
    assert flows.nightly == orc.Pipeline.from_yaml(flows.NIGHTLY)
    assert orc.Pipeline.from_yaml(flows.nightly.to_yaml()) == flows.nightly
    assert orc.compile("tests.unit.functions.flows:nightly") == flows.nightly
    assert flows.nightly.id == "nightly-report"
    assert list(flows.nightly.tasks) == ["fetch", "process", "send"]


async def test_it_runs_fails_and_goes_on_as_any_other() -> None:
    with pytest.raises(orc.ExecutionFailed, match="the line is down"):
        await flows.nightly.run(user="ada", execution_id="first")
    assert flows.nightly.execution_id == "first"
    Path("online").touch()
    async with Orchestrator() as orchestrator:
        result = await orchestrator.resume_pipeline("first")
        plan = await orchestrator.plan("first", pipeline=flows.nightly)
        assert {str(each.verb) for each in plan.decisions} == {"reuse"}
    assert result.outputs == {"sent": "sent 12 to ada at attempt 2", "odd": 7}
    assert Path("fetched").read_text() == "ada\n"


def test_a_second_call_has_a_name_of_its_own_and_an_order_if_wanted() -> None:
    tasks = flows.twice.tasks
    assert list(tasks) == ["fetch", "fetch-bob", "process"]
    bob = tasks["fetch-bob"]
    assert bob.dependencies == ("fetch",)
    assert (bob.isolation, bob.critical) == ("process", True)
    assert tasks["process"].parameters == {
        "rows": ["{{ fetch.result.rows[0] }}", "{{ steps['fetch-bob'].result.rows[inputs.limit] }}", 5]
    }
    assert flows.twice.definition.outputs == {"result": "{{ process.result.total }}"}
    assert flows.twice.inputs["limit"] == orc.Input("limit", "integer", required=True)


def test_a_pipeline_called_in_another_is_a_step_of_it() -> None:
    Path("pipelines").mkdir()
    Path("pipelines/monthly report.yaml").write_text(MONTHLY)
    tasks = {str(name): task for name, task in flows.outer.tasks.items()}
    assert list(tasks) == ["twice", "report", "monthly_report"]
    assert {task.tool for task in tasks.values()} == {"pipeline"}
    assert tasks["twice"].parameters == {"pipeline": "tests.unit.functions.flows:twice", "inputs": {"limit": 2}}
    assert tasks["monthly_report"].parameters == {
        "pipeline": "pipelines/monthly report.yaml",
        "inputs": {"odd": "{{ report.result.odd }}"},
    }
    assert tasks["monthly_report"].timeout == 60
    assert flows.outer.definition.outputs["total"] == "{{ twice.result.result }}"

    bench = Bench(flows.outer, {"twice~fetch-bob": {"rows": [0, 0, 7]}, "report~send": "faked"})
    crashed = bench.run(crash="after_effect:4")
    assert crashed.status == "crashed"
    run = bench.resume()
    assert run.outputs == {"total": 2 * (1 + 7 + 5), "month": "odd is 7"}, run.failures
    every = [call.step for call in bench.calls]
    assert {"twice~process", "report~send", "monthly_report~say"} < set(every)
    assert set(Path("fetched").read_text().split()) == {"ada", "eve"}


def test_a_file_calls_a_pipeline_that_is_a_function() -> None:
    call = "{pipeline: 'tests.unit.functions.flows:twice', inputs: {limit: %s}}"
    text = "id: p\nsteps:\n  - {id: call, tool: pipeline, parameters: %s}\noutputs: {all: '{{ call.result.result }}'}\n"
    run = run_pipeline(orc.Pipeline.from_yaml(text % call % 2), fakes={"call~fetch-bob": {"rows": [0, 0, 1]}})
    assert run.outputs == {"all": 14}, run.failures
    with pytest.raises(orc.DefinitionError, match="expected a whole number, got the text 'x'"):
        orc.Pipeline.from_yaml(text % call % "x")


MONTHLY = """
id: monthly
inputs: {odd: {type: integer}}
steps:
  - {id: say, tool: shell, parameters: {command: [echo, -n, "odd is {{ inputs.odd }}"]}}
outputs: {month: "{{ say.result.stdout }}"}
"""


def test_outside_of_a_pipeline_a_task_is_the_function_it_was() -> None:
    assert flows.fetch("eve")["user"] == "eve"
    assert repr(flows.fetch) == "<Step fetch>"


def test_items_and_rounds_are_drawn_as_a_file_says_them_and_only_missing_items_run() -> None:
    assert flows.each == orc.Pipeline.from_yaml(flows.EACH)
    assert orc.Pipeline.from_yaml(flows.each.to_yaml()) == flows.each
    bench = Bench(flows.each, {})
    users = [{"id": name} for name in ("ada", "bob", "eve")]
    failed = bench.run(users=users)
    assert "eve is away" in str(failed.error)
    Path("online").touch()
    run = bench.resume()
    assert run.order == ["shout[eve]", "page[1]", "page[2]", "page[3]"]
    assert run.outputs["last"] == 3
    assert {"ada?", "eve?"} <= set(run.outputs["names"])
    faked = run_pipeline(flows.each, {"users": users}, fakes={"shout": "hush", "page": {"number": 7, "done": True}})
    assert faked.outputs["last"] == 7
    assert [call.step for call in faked.calls if call.faked] == ["shout[ada]", "shout[eve]", "page[1]"]


def test_every_setting_of_a_task_is_an_option_of_a_step() -> None:
    made = {"id", "tool", "action", "parameters", "dependencies", "condition", "needs", "reads"}
    stages = {"undo", "undoes", "stage"}
    constructs = {*stages, "control", "body", "uses", "within", "key", "index", "local"}
    settings = {field.name for field in fields(orc.Task)} - made - constructs
    assert set(StepOptions.__annotations__) == settings  # `name` is the step's own here


def test_everything_that_a_pipeline_is_told_is_an_option_of_the_function() -> None:
    drawn = {"self", "tasks", "inputs", "outputs", "on_failure", "finally_"}
    assert set(PipelineOptions.__annotations__) == set(inspect.signature(orc.Pipeline.__init__).parameters) - drawn


# -- mistakes ----------------------------------------------------------------------------------------------------


def called_twice() -> Any:
    flows.fetch("a")
    flows.fetch("b")


def wrong_arguments() -> Any:
    flows.fetch()  # type: ignore[call-arg]


def gives_the_context() -> Any:
    flows.send(1, "x", context=None)


def strange_order() -> Any:
    flows.fetch.after("process")("a")


def closure() -> Any:
    @orc.task
    def inner() -> int:
        return 1

    inner()


def nameless() -> Any:
    orc.task(lambda: 1)()


async def is_async() -> Any:
    flows.fetch("a")


def spread(*users: str) -> Any:
    flows.fetch(users[0])


def outside() -> Any:
    return flows.fetch.named("elsewhere")(LEAKED["user"])


LEAKED: dict[str, Any] = {}


@orc.pipeline
def endless() -> Any:
    return endless()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (called_twice, r"test_drawing\.py:\d+: pipeline 'called_twice' has a step 'fetch' already \(called at .*named"),
        (wrong_arguments, r"test_drawing\.py:\d+: fetch\(user: .*missing a required argument: 'user'"),
        (gives_the_context, r"test_drawing\.py:\d+: send.*unexpected keyword argument 'context'"),
        (strange_order, r"test_drawing\.py:\d+: after takes what calls of steps returned, not str"),
        (closure, r"test_drawing\.py:\d+: closure\.<locals>\.inner is made inside another function.*top level"),
        (nameless, "has no name that another process could import; write it as a def"),
        (is_async, r"test_drawing\.py:\d+: is_async: a pipeline function is a plain def"),
        (spread, r"test_drawing\.py:\d+: spread: .*'users' cannot be given by name"),
    ],
)
def test_a_graph_that_cannot_be_drawn_says_where_why_and_what_to_do(function: Callable[..., Any], message: str) -> None:
    pipeline = orc.pipeline(function)
    with pytest.raises(orc.UsageError, match=message):
        _ = pipeline.definition
    with pytest.raises(orc.UsageError, match=message):  # and says it again
        _ = pipeline.tasks


def test_a_pipeline_that_calls_itself_has_no_end() -> None:
    with pytest.raises(orc.UsageError, match="pipeline 'endless' calls itself"):
        _ = endless.definition


def test_a_value_of_one_pipeline_does_not_get_into_another() -> None:
    @orc.pipeline
    def leaking(user: str) -> None:
        LEAKED["user"] = flows.fetch(user)["user"]

    _ = leaking.definition
    with pytest.raises(orc.UsageError, match=r"step 'elsewhere': .* belongs to pipeline 'leaking', not to 'outside'"):
        _ = orc.pipeline(outside).definition


def test_mistakes_of_the_graph_are_told_all_at_once_with_the_lines_of_the_calls() -> None:
    @orc.pipeline
    def wrong(limit: int = "3") -> Any:  # type: ignore[assignment] # noqa: ARG001
        rows = flows.fetch(7)  # type: ignore[arg-type]
        flows.process.options(timeout=-1)(rows["rows"], factor="{{ inputs.nope }}")  # type: ignore[arg-type]
        return {"x": "{{ nothing.result }}"}

    with pytest.raises(orc.DefinitionError) as caught:
        _ = wrong.definition
    line = wrong.function.__code__.co_firstlineno
    found = {(each.line - line, each.path) for each in caught.value.diagnostics}
    assert found == {
        (0, "inputs.limit.default"),
        (2, "steps.fetch.parameters.user"),
        (3, "steps.process.timeout"),
        (3, "steps.process.parameters.factor"),
        (0, "outputs.x"),
    }
    assert all(each.file.endswith("test_drawing.py") for each in caught.value.diagnostics)


@pytest.mark.parametrize("make", [orc.task, orc.pipeline, flows.fetch.options])
def test_an_option_that_there_is_not_is_refused_at_once(make: Any) -> None:
    with pytest.raises(orc.UsageError, match=r"no option 'naem' \(did you mean 'name'\?\)"):
        make(naem="x")


def test_a_pipeline_is_run_not_called() -> None:
    with pytest.raises(orc.UsageError, match=r"nightly\.run_sync"):
        flows.nightly("ada")


def test_the_types_of_inputs_come_from_annotations() -> None:
    @orc.pipeline
    def typed(
        a: str, b: int, c: float, d: bool, e: list[str], f: dict[str, int], *, g: int | None = None, h: Any = 1
    ) -> None:
        flows.process([b], factor=b)
        assert all(map(repr, (a, c, d, e, f, g, h)))

    assert [(each.type, each.required) for each in typed.inputs.values()] == [
        ("string", True), ("integer", True), ("number", True), ("boolean", True), ("list", True), ("object", True),
        ("integer", False), ("any", False),
    ]  # fmt: skip


def test_a_method_of_a_class_and_a_function_of_the_library_have_addresses() -> None:
    assert address_of(math_of.double) == f"{__name__}:math_of.double"
    assert address_of(Path.exists).endswith(":Path.exists")


class math_of:  # noqa: N801
    @staticmethod
    def double(number: int) -> int:
        return 2 * number
