"""A pipeline written out compiles to the same pipeline: as a mapping, as YAML, and packed for the store."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.compiler import compile_dict, compile_text, json_schema, to_dict, to_yaml
from orchestrator.compiler.build import build
from orchestrator.compiler.expressions import RESERVED
from orchestrator.compiler.inputs import fits, type_of
from orchestrator.compiler.schema import PIPELINE, RESUME, RETRY, STEP
from orchestrator.domain.ids import TaskId
from orchestrator.domain.limits import Limit
from orchestrator.domain.packed import pack, unpack
from orchestrator.domain.pipeline import (
    NO_FILES,
    CachePolicy,
    CacheScope,
    CheckpointWhen,
    DeclaredFiles,
    Input,
    Isolation,
    OnChange,
    OnInterrupted,
    Pipeline,
    RetryPolicy,
    Task,
)
from orchestrator.domain.schedule import Catchup, Overlap, Schedule
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import StoreDamaged, StoreIncompatible

ODD = [
    *(
        "",
        "no",
        "on",
        "1:30",
        "1e3",
        "0o14",
        "012",
        "~",
        "null",
        "a: b",
        "- x",
        "#x",
        " lead",
        "trail ",
        "a\nb\n",
        "\n",
    ),
    *("a\n\n", "\ta", "a\tb", "é✓😀", "'", '"', "\\", "{ x }", "{{ '{{ x }}' }}", "%", "@a", "`", "|", ">", "&a", "*a"),
    *("!x", "\u2028", "\x85", "\x07", "\x00", "\ufeff", "=", "<<", "a\r\nb", "\r", "---", "...", "? a", "x" * 300, "y"),
    *(
        ".5",
        "-",
        "1_000",
        "\xa0",
        "a\n b",
        "\n a\n",
        "a \nb",
        "2024-01-01",
        "0x1F",
        "+1",
        "1.",
        ".inf",
        ".nan",
        "Yes",
        "TRUE",
    ),
]
texts = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: not any(mark in text for mark in ("{{", "{%", "{#"))
)
names = st.none() | texts
ids = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}", fullmatch=True).filter(lambda name: name not in RESERVED)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
seconds = st.floats(min_value=0.001, max_value=1e9)
flags: st.SearchStrategy[Any] = st.booleans()
retries = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 9),
    delay_seconds=seconds,
    backoff=st.floats(1, 9),
    max_delay_seconds=seconds,
    jitter=st.booleans(),
    on=st.lists(texts.filter(bool), max_size=2).map(tuple),
)


paths = st.lists(texts.filter(lambda path: bool(path.strip()) and "\0" not in path), max_size=2).map(tuple)
caches = st.builds(CachePolicy, st.none() | seconds, names, st.sampled_from(CacheScope))

spans = st.sampled_from([0.25, 1.0, 60.0, 90.0, 3600.0, 86400.0])
limits = st.builds(Limit, st.integers(1, 9)) | st.builds(Limit, st.none() | st.integers(1, 9), st.integers(1, 9), spans)


schedules = st.none() | st.builds(
    Schedule,
    st.sampled_from(["0 2 * * *", "@daily", "*/5 8-18 * * mon-fri"]),
    st.sampled_from(["UTC", "Europe/Berlin"]),
    st.sampled_from(Catchup),
    st.sampled_from([Overlap.QUEUE, Overlap.ALLOW]),
)


@st.composite
def inputs(draw: st.DrawFn) -> dict[str, Input]:
    found = {}
    for name in draw(st.lists(ids, unique=True, max_size=3)):
        default = draw(values)
        kind = draw(st.sampled_from(["any", type_of(default)]))
        assert fits(kind, default)
        required = default is None and draw(st.booleans())
        schema = draw(st.none() | st.fixed_dictionaries({"title": texts, "enum": st.just([default, None])}))
        if schema is not None and kind not in ("any", "list") and draw(flags):
            schema["type"] = kind  # what a schema calls so as well
        found[name] = Input(name, kind, required, default, draw(names), schema)
    return found


@st.composite
def changing(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "files": draw(st.just(NO_FILES) | st.builds(DeclaredFiles, paths, paths)),
        "output_schema": draw(
            st.none() | st.fixed_dictionaries({"type": st.just(["object", "null"]), "const": values})
        ),
        "on_change": draw(st.none() | st.sampled_from(OnChange)),
        "migrate": draw(st.sampled_from([None, "moving:both"])),
        "cache": draw(st.none() | caches),
        "idle_timeout": draw(st.none() | seconds),
        "limits": draw(st.sampled_from([(), ("few",), ("few", "slow")])),
    }


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    declared = draw(inputs())
    tasks: list[Task] = []
    for name in draw(st.lists(ids, unique=True, min_size=1, max_size=4)):
        earlier = [task.id for task in tasks]
        depends = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else []
        parameters = draw(st.dictionaries(texts, values, max_size=3))
        if earlier and draw(flags):
            parameters["t"] = f"{{{{ steps['{draw(st.sampled_from(earlier))}'].result }}}}"
        condition = f"inputs['{next(iter(declared))}']" if declared and draw(flags) else None
        tasks.append(
            Task(
                TaskId(name),
                draw(texts.filter(bool)),
                draw(names),
                parameters,
                tuple(depends),
                draw(names),
                draw(names),
                condition,
                draw(st.none() | seconds),
                draw(st.just(RetryPolicy()) | retries),
                draw(st.booleans()),
                draw(st.sampled_from(CheckpointWhen)),
                draw(st.sampled_from(OnInterrupted)),
                draw(st.sampled_from(Isolation)),
                **(draw(changing()) if draw(flags) else {}),
            )
        )
    resume = ResumeStrategy(
        retry_failed_tasks=draw(st.booleans()),
        reset_running_tasks=draw(st.booleans()),
        preserve_completed_tasks=draw(st.booleans()),
        max_retry_attempts=draw(st.integers(0, 99)),
        checkpoint_interval_seconds=draw(seconds),
        validate_checkpoint_integrity=draw(st.booleans()),
    )
    return build(
        id=draw(ids),
        tasks=tasks,
        name=draw(names),
        version=draw(names),
        description=draw(names),
        inputs=declared,
        outputs=draw(st.dictionaries(texts, values, max_size=2)) | {"o": f"{{{{ steps['{tasks[0].id}'].status }}}}"},
        resume=draw(st.just(ResumeStrategy()) | st.just(resume)),
        resume_enabled=draw(st.booleans()),
        max_concurrency=draw(st.none() | st.integers(1, 9)),
        limits={"few": draw(limits), "slow": draw(limits)},
        schedule=None if any(item.required for item in declared.values()) else draw(schedules),
    )


def typed(value: Any) -> str:
    return repr(value)


@settings(max_examples=60)
@given(pipelines())
def test_every_written_form_compiles_to_the_same(pipeline: Pipeline) -> None:
    again = compile_dict(to_dict(pipeline))
    assert again == pipeline
    again = compile_text(to_yaml(pipeline))
    assert again == pipeline
    assert [typed(task.parameters) for task in again.tasks.values()] == [
        typed(task.parameters) for task in pipeline.tasks.values()
    ]
    assert unpack(pack(pipeline)) == pipeline
    assert unpack(json.loads(json.dumps(pack(pipeline)))) == pipeline


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_survive_yaml(text: str) -> None:
    pipeline = build(id="p", name=text, tasks=[Task(TaskId("a"), "t", parameters={"k": text, text: [text]})])
    assert compile_text(to_yaml(pipeline)) == pipeline
    assert compile_text(to_yaml(pipeline).encode()) == pipeline


def test_only_what_differs_is_written() -> None:
    text = (
        "id: p\n"
        "version: '1.10'\n"
        "inputs:\n"
        "  limit: 3\n"
        "  path:\n"
        "    type: string\n"
        "resume:\n"
        "  checkpoint_interval: 30\n"
        "steps:\n"
        "  - id: a\n"
        "    tool: files\n"
        "    action: write\n"
        "    parameters:\n"
        "      content: |\n"
        "        two\n"
        "        lines\n"
        "      n: 'no'\n"
        "  - id: b\n"
        "    tool: noop\n"
        "    dependencies:\n"
        "      - a\n"
        "    timeout: 90\n"
        "    retry: 3\n"
        "    resume:\n"
        "      critical: true\n"
        "outputs:\n"
        "  r: '{{ b.result }}'\n"
    )
    assert to_yaml(compile_text(text)) == text


def test_a_pipeline_without_the_newer_fields_is_packed_as_ever() -> None:
    assert json.dumps(small(), separators=(",", ":")) == (
        '{"v":1,"id":"p","calls":[["t",null]],"tasks":["a","b"],"call_of":0,"needs":[[],0],'
        '"more":[[1,{"timeout":3.0,"retry":[2,1.0,2.0,60.0,true,[]]}]],'
        '"inputs":[["n","integer",false,1,null]],"outputs":{"o":1}}'
    )


def test_a_pipeline_with_a_newer_field_is_no_format_that_older_versions_read() -> None:
    newer: list[dict[str, Any]] = [{"output_schema": {}}, {"renamed_from": "b"}]
    newer += ({"files": {"reads": "x"}}, {"cache": True}, {"on_change": "keep"}, {"migrate": "m:f"})
    for fields in newer:
        pipeline = compile_dict({"id": "p", "steps": [{"id": "a", "tool": "t", **fields}]})
        packed = pack(pipeline)
        assert packed["v"] == 2
        assert unpack(packed) == pipeline


@pytest.mark.slow
def test_packed_is_small_and_quick_to_read() -> None:
    tasks = [Task(TaskId(f"t{n}"), "noop", dependencies=(TaskId(f"t{n - 1}"),) if n else ()) for n in range(30_000)]
    pipeline = build(id="p", tasks=tasks)
    packed = pack(pipeline)
    assert len(json.dumps(packed)) / 30_000 < 25
    start = time.process_time()
    again = unpack(packed)
    assert time.process_time() - start < 1
    assert again == pipeline


def small() -> dict[str, Any]:
    steps = "[{id: a, tool: t}, {id: b, tool: t, depends_on: a, retry: 2, timeout: 3}]"
    return pack(compile_text(f"id: p\ninputs: {{n: 1}}\nsteps: {steps}\noutputs: {{o: 1}}"))


def test_a_newer_format_is_incompatible_and_nonsense_is_damage() -> None:
    with pytest.raises(StoreIncompatible, match="stored in format 5, and this version reads up to 4"):
        unpack(small() | {"v": 5})
    nonsense: Any
    for nonsense in (None, 3, [], {}, "x", {"v": "1"}, {"v": True}, {"v": 0}, {"v": 1}):
        with pytest.raises(StoreDamaged, match="damaged record definition"):
            unpack(nonsense)


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": ["a"]},
        {"tasks": ["a", "a"]},
        {"tasks": ["a", 3]},
        {"tasks": "ab"},
        {"needs": [[], -1]},
        {"needs": [[], 7]},
        {"needs": [[], [True]]},
        {"needs": [[], "a"]},
        {"call_of": 9},
        {"call_of": [0]},
        {"call_of": None},
        {"calls": [[3, None]]},
        {"calls": [["t"]]},
        {"id": None},
        {"more": [[0, {"nosuch": 1}]]},
        {"more": [[0, {"files": ["x"]}]]},
        {"more": [[0, {"files": [[3], []]}]]},
        {"more": [[0, {"cache": [None, None, "x"]}]]},
        {"more": [[0, {"cache": True}]]},
        {"more": [[0, {"output_schema": 3}]]},
        {"more": [[0, {"on_change": "x"}]]},
        {"more": [[0, {"retry": [1]}]]},
        {"more": [[0, {"retry": 1}]]},
        {"more": [[0, {"checkpoint": "sometimes"}]]},
        {"more": [[9, {}]]},
        {"more": 3},
        {"inputs": [[]]},
        {"inputs": [[1]]},
        {"outputs": 3},
        {"output_reads": [9]},
        {"resume": {"nosuch": 1}},
        {"resume": {"max_retry_attempts": -1}},
        {"name": 3},
    ],
)
def test_damage_is_told_and_never_half_read(change: dict[str, Any]) -> None:
    with pytest.raises(StoreDamaged):
        unpack(small() | change)


@given(st.data())
def test_any_change_gives_a_pipeline_or_an_error_of_the_store(data: st.DataObject) -> None:
    packed = small()
    key = data.draw(st.sampled_from(sorted(packed)))
    packed[key] = data.draw(values)
    with contextlib.suppress(StoreDamaged, StoreIncompatible):
        assert isinstance(unpack(packed), Pipeline)


def test_the_schema_describes_every_key_and_its_other_name() -> None:
    schema = json_schema()
    definitions = schema["$defs"]
    assert schema["additionalProperties"] is False
    assert set(PIPELINE.keys) | {"parameters"} == set(schema["properties"])
    assert set(STEP.keys) | {"depends_on", "when", "parallel"} == set(definitions["StepModel"]["properties"])
    assert set(RETRY.keys) == set(definitions["RetryModel"]["properties"])
    assert set(RESUME.others) < set(definitions["ResumeModel"]["properties"])
    for part in (schema, *definitions.values()):
        for key, described in part["properties"].items():
            assert described.get("description"), key
    json.dumps(schema)
