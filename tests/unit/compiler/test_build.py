"""The one road to a pipeline: what it fills in, what it refuses, and that it stays quick."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import pytest

from orchestrator.compiler import compile_dict, compile_text
from orchestrator.compiler.build import build
from orchestrator.domain.graph import cycles
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import (
    ONCE,
    CachePolicy,
    CacheScope,
    CheckpointWhen,
    DeclaredFiles,
    Input,
    Isolation,
    OnChange,
    RetryPolicy,
    Task,
)
from orchestrator.errors import DefinitionError
from tests.unit.compiler.fakes import FakeTools

PLAIN_IN = " in a definition (a definition holds text, numbers, true, false, null, lists and mappings)"
PLAIN = " (a definition holds text, numbers, true, false, null, lists and mappings)"


def task(name: str, *dependencies: str, **fields: Any) -> Task:
    return Task(TaskId(name), "noop", dependencies=tuple(map(TaskId, dependencies)), **fields)


def mistakes(*tasks: Any, **parts: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        build(id="p", tasks=tasks, **parts)
    return str(caught.value).splitlines()


def test_needs_are_dependencies_and_what_templates_read_in_order() -> None:
    tasks = [
        task("a"),
        task("b"),
        task("c", "b", parameters={"x": ["{{ a.result }}", "{{ steps['b'].status }}"]}, condition="d.result"),
        task("d"),
        task("e", "a", "a", parameters={"x": "plain"}),
        task("f", parameters={"x": "{{ inputs.n }}"}),
        task("g", condition="true"),
        task("h", files=DeclaredFiles(reads=("{{ b.result }}",), writes=("{{ a.result }}/x",))),
        task("i", "a", parameters={"x": "{{ c.result }}"}, cache=CachePolicy(key="{{ inputs.n }} {{ b.result }}")),
        task("j", files=DeclaredFiles(("plain",)), cache=CachePolicy()),
    ]
    found = build(id="p", tasks=tasks, inputs=[Input("n")], outputs={"o": "{{ c.result }} {{ a.result }}"})
    assert {name: (done.needs, done.reads) for name, done in found.tasks.items()} == {
        "a": ((), None),
        "b": ((), None),
        "c": (("b", "a", "d"), ("a", "b", "d")),
        "d": ((), None),
        "e": (("a",), None),
        "f": ((), ()),
        "g": ((), ()),
        "h": (("b", "a"), ("b", "a")),
        "i": (("a", "c", "b"), ("c", "b")),
        "j": ((), None),
    }
    assert found.tasks[TaskId("c")].dependencies == ("b",)
    assert found.output_reads == ("c", "a")


def test_a_built_pipeline_builds_again_to_the_same() -> None:
    first = build(id="p", tasks=[task("a"), task("b", "a", parameters={"x": "{{ a.result }}"})])
    assert build(id="p", tasks=first.tasks.values()) == first


def test_stale_needs_are_replaced() -> None:
    found = build(id="p", tasks=[task("a"), task("b", needs=(TaskId("a"),), reads=(TaskId("x"),))])
    assert found.tasks[TaskId("b")] == task("b")


def test_parameters_are_copied() -> None:
    rows = [1]
    found = build(id="p", tasks=[task("a", parameters={"rows": rows, "pair": (1, 2)})])
    rows.append(2)
    assert found.tasks[TaskId("a")].parameters == {"rows": [1], "pair": [1, 2]}


def test_lists_and_texts_become_what_they_should_be() -> None:
    loose = Task(
        TaskId("b"),
        "noop",
        dependencies=["a"],  # type: ignore[arg-type]
        checkpoint="both",  # type: ignore[arg-type]
        isolation="process",  # type: ignore[arg-type]
        retry=RetryPolicy(2, on=["timeout"]),  # type: ignore[arg-type]
        files=DeclaredFiles(["x"], ["y"]),  # type: ignore[arg-type]
        cache=CachePolicy(scope="store"),  # type: ignore[arg-type]
        on_change="keep",  # type: ignore[arg-type]
        output_schema={"enum": (1, 2)},
    )
    done = build(id="p", tasks=[task("a"), loose]).tasks[TaskId("b")]
    assert done.dependencies == done.needs == ("a",)
    assert done.checkpoint is CheckpointWhen.BOTH
    assert done.isolation is Isolation.PROCESS
    assert done.retry.on == ("timeout",)
    assert done.files == DeclaredFiles(("x",), ("y",))
    assert done.cache is not None
    assert done.cache.scope is CacheScope.STORE
    assert done.on_change is OnChange.KEEP
    assert done.output_schema == {"enum": [1, 2]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timeout": -1}, "steps.x.timeout: expected more than 0 seconds, got the number -1"),
        ({"timeout": "5"}, "steps.x.timeout: expected more than 0 seconds, got the text '5'"),
        ({"critical": 1}, "steps.x.resume.critical: expected true or false, got the number 1"),
        ({"retry": 3}, "steps.x.retry: expected a RetryPolicy, got the number 3"),
        ({"retry": RetryPolicy(0)}, "steps.x.retry.max_attempts: expected 1 or more, got the number 0"),
        ({"retry": RetryPolicy(backoff=float("nan"))}, "steps.x.retry.backoff: expected 1 or more, got the number nan"),
        ({"retry": RetryPolicy(jitter=1)}, "steps.x.retry.jitter: expected true or false, got the number 1"),  # type: ignore[arg-type]
        ({"checkpoint": "x"}, "steps.x.resume.checkpoint: expected one of before, after, both, none, got the text 'x'"),
        ({"on_interrupted": None}, "steps.x.on_interrupted: expected one of rerun, fail, ask, got nothing (null)"),
        ({"parameters": [1]}, "steps.x.parameters: expected a mapping, got a list"),
        (
            {"parameters": {"{{": object()}},
            "steps.x.parameters['{{']: a Python object cannot stand in a definition" + PLAIN,
        ),
        ({"condition": 3}, "steps.x.condition: expected an expression as text, got the number 3"),
        ({"name": 3}, "steps.x.name: expected text, got the number 3"),
        ({"action": 3}, "steps.x.action: expected text, got the number 3"),
        ({"tool": ""}, "steps.x.tool: expected the name of a tool, got an empty text"),
        ({"tool": None}, "steps.x.tool: expected the name of a tool, got nothing (null)"),
        ({"dependencies": "ab"}, "steps.x.dependencies: expected ids, got the text 'ab'"),
        ({"dependencies": 3}, "steps.x.dependencies: expected ids, got the number 3"),
        ({"dependencies": (3,)}, "steps.x.dependencies: no step named 3"),
        ({"dependencies": ("x",)}, "steps.x.dependencies: a step cannot depend on itself"),
        ({"files": ("a",)}, "steps.x.files: expected DeclaredFiles, got a list"),
        ({"files": DeclaredFiles("a")}, "steps.x.files.reads: expected a list of paths, got the text 'a'"),  # type: ignore[arg-type]
        ({"files": DeclaredFiles((3,))}, "steps.x.files.reads[0]: expected the path of a file, got the number 3"),  # type: ignore[arg-type]
        ({"cache": True}, "steps.x.cache: expected a CachePolicy, got true"),
        ({"cache": CachePolicy(scope="x")}, "steps.x.cache.scope: expected one of pipeline, store, got the text 'x'"),  # type: ignore[arg-type]
        ({"cache": CachePolicy(key=3)}, "steps.x.cache.key: expected text, got the number 3"),  # type: ignore[arg-type]
        ({"on_change": "x"}, "steps.x.on_change: expected one of rerun, keep, fail, got the text 'x'"),
        ({"migrate": len}, "steps.x.migrate: expected text, got a Python builtin_function_or_method"),
        ({"renamed_from": 3}, "steps.x.renamed_from: expected text, got the number 3"),
        ({"output_schema": True}, "steps.x.output_schema: expected a JSON Schema as a mapping, got true"),
        ({"output_schema": {"const": b""}}, "steps.x.output_schema.const: a Python bytes cannot stand" + PLAIN_IN),
    ],
)  # fmt: skip
def test_tasks_built_in_python_are_checked_too(fields: dict[str, Any], message: str) -> None:
    assert mistakes(Task(**({"id": "x", "tool": "noop"} | fields))) == [f"<pipeline>  {message}"]


@pytest.mark.parametrize(
    "name", [3, None, "", "a b", "../a", "a/b", "é", "a\0", "a\n", "-a", "a" * 129, "steps", "true"]
)
def test_bad_ids_are_refused(name: Any) -> None:
    assert len(mistakes(Task(name, "noop"))) == 1


def test_duplicates_and_pipelines_without_steps() -> None:
    assert mistakes(task("a"), task("a")) == ["<pipeline>  steps.a.id: two steps are named 'a' (steps 0 and 1)"]
    assert mistakes() == ["<pipeline>  steps: a pipeline needs at least one step"]
    assert mistakes(task("a"), inputs=[Input("n"), Input("n")]) == ["<pipeline>  inputs.n: declared twice"]


def test_several_cycles_are_told_one_by_one() -> None:
    found = mistakes(task("a", "b"), task("b", "a"), task("c", "a"), task("d", "e"), task("e", "f"), task("f", "d"))
    assert found == [
        "<pipeline>  steps.a.dependencies: the steps wait for each other: a -> b -> a",
        "<pipeline>  steps.d.dependencies: the steps wait for each other: d -> e -> f -> d",
    ]


def test_cycles_of_a_graph_without_any() -> None:
    assert list(cycles({"a": ["b", "c"], "b": ["c"], "c": [], "d": ["nowhere"]})) == []


@pytest.mark.slow
def test_constant_templates_are_tried_but_not_without_end() -> None:
    eaters = [task(f"t{n}", parameters={"x": "{{ range(10**5) | sort | length }}"}) for n in range(300)]
    start = time.process_time()
    assert len(build(id="p", tasks=eaters).tasks) == 300
    assert time.process_time() - start < 5


def chain(length: int) -> list[Task]:
    return [task(f"t{n}", f"t{n - 1}") if n else task("t0") for n in range(length)]


@pytest.mark.slow
def test_a_hundred_thousand_tasks_take_about_a_second() -> None:
    tasks = chain(100_000)
    start = time.process_time()
    built = build(id="p", tasks=tasks, tools=FakeTools())
    assert time.process_time() - start < 3
    assert built.tasks[TaskId("t99999")].needs == ("t99998",)
    assert built.tasks[TaskId("t5")].parameters is built.tasks[TaskId("t6")].parameters
    assert built.tasks[TaskId("t5")].retry is ONCE


def test_memory_per_task_is_small() -> None:
    tasks = chain(20_000)
    tracemalloc.start()
    built = build(id="p", tasks=tasks)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(built.tasks) == 20_000
    assert size / 20_000 < 500


@pytest.mark.slow
def test_a_cycle_through_a_hundred_thousand_tasks_is_found() -> None:
    tasks = [task("t0", "t99999"), *chain(100_000)[1:]]
    start = time.process_time()
    (message,) = mistakes(*tasks)
    assert time.process_time() - start < 5
    start_of_path, end_of_path = message.split(" … 99985 more … ")
    assert start_of_path.startswith(
        "<pipeline>  steps.t0.dependencies: the steps wait for each other: t0 -> t99999 -> "
    )
    assert end_of_path == "-> t7 -> t6 -> t5 -> t4 -> t3 -> t2 -> t1 -> t0"


@pytest.mark.slow
def test_a_file_of_many_unknown_names_does_not_guess_for_ever() -> None:
    tasks = [task(f"t{n}", f"x{n}", parameters={"p": f"{{{{ y{n}.result }}}}"}) for n in range(20_000)]
    start = time.process_time()
    assert len(mistakes(*tasks)) == 1001
    assert time.process_time() - start < 5


def test_compiling_works_inside_an_event_loop_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    text = "id: p\nsteps: [{id: a, tool: noop, parameters: {x: '{{ attempt + 1 }}'}}]"

    async def inside() -> object:
        return compile_text(text)

    assert asyncio.run(inside()) == compile_text(text)
    assert capfd.readouterr() == ("", "")


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, orchestrator.compiler as c\n"
        "heavy = {'pydantic', 'jinja2', 'yaml'}\n"
        "assert heavy.isdisjoint(sys.modules)\n"
        "from orchestrator.compiler.build import build\n"
        "from orchestrator.domain.pipeline import Task\n"
        "build(id='p', tasks=[Task('a', 't'), Task('b', 't', parameters={'x': '{{ a.result.y }}'})])\n"
        "assert heavy.isdisjoint(sys.modules)\n"
        "c.compile_text('steps: [{id: a, tool: t, retry: 2, timeout: 5m}]')\n"
        "assert heavy & set(sys.modules) == {'yaml'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_yaml_and_python_give_the_same_pipeline() -> None:
    steps = "- {id: a, tool: noop}\n- {id: b, tool: noop, depends_on: a, timeout: 1.5m, retry: 3}\n"
    built = build(
        id="p", version="1.10", tasks=[task("a"), task("b", "a", timeout=90.0, retry=RetryPolicy(3))], tools=FakeTools()
    )
    assert compile_text(f"id: p\nversion: 1.10\nsteps:\n{steps}", tools=FakeTools()) == built
    same = {"id": "b", "tool": "noop", "dependencies": ["a"], "timeout": 90, "retry": {"max_attempts": 3}}
    assert compile_dict({"id": "p", "version": "1.10", "steps": [{"id": "a", "tool": "noop"}, same]}) == built
