"""Every kind of edit: what the plan says of each step, why, and what then really runs.

Each entry edits one small project after its run, looks at the plan, and resumes. That the plan changes nothing, that
what ran is what it said, and that the results are those of a fresh run of the edited project, is checked for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.errors import PipelineChanged
from tests.edits.ground import RUN, Ground, may_run, must_run, told

PIPELINE = """
inputs: {above: 2}
steps:
- {id: load, tool: python, action: "work:load", parameters: {rows: 4}}
- {id: keep, tool: python, action: "work:keep", parameters: {rows: "{{ load.result }}", above: "{{ inputs.above }}"}}
- {id: report, tool: python, action: "work:report", parameters: {rows: "{{ keep.result }}"}}
- {id: side, tool: versioned, parameters: {x: 2}}
- {id: tidy, tool: python, action: "work:tidy", dependencies: [side]}
outputs: {report: "{{ report.result }}"}
"""
CODE = """
def load(context, rows):
    note(context)
    return list(range(rows))

def keep(context, rows, above):
    note(context)
    return [row for row in rows if row >= above]

def report(context, rows, title="report"):
    note(context)
    return f"{title}: {size(rows)}"

def size(rows):
    return len(rows)

def tidy(context):
    note(context)

def limit(context):
    note(context)
    with open("limit.txt", encoding="utf-8") as file:
        return file.read()

def write(context, text):
    note(context)
    with open("written.txt", "w", encoding="utf-8") as file:
        file.write(text)
    return len(text)

def broken(context, rows):
    note(context)
    raise ValueError("broken")

def count(context, rows):
    note(context)
    context.save({"done": rows})
    raise ValueError("stopped half way")

def resumed(context, rows):
    note(context)
    return context.saved

def shorter(old, kind):
    return {"done": "migrated"} if kind == "saved" else f"{old} ({kind})"
"""
NOTHING = {"load": "reuse", "keep": "reuse", "report": "reuse", "side": "reuse", "tidy": "reuse"}
"""Every step keeps what it has."""


@dataclass(frozen=True)
class Edit:
    """One kind of edit.

    ``edit`` maps texts of the project's files to what takes their place, ``before`` are such edits before the run.
    ``plan`` tells the verb of each step, with ``?`` for one that is looked at again; those not named are reused.
    ``why`` are parts of reasons. ``runs`` is what ran. ``options`` are those of the plan and the resume. ``fresh``
    is off where the point is that results are not those of a fresh run.
    """

    edit: dict[str, str] = field(default_factory=dict)
    plan: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    runs: str = ""
    before: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=lambda: {"pipeline": "pipeline.yaml"})
    files: dict[str, str | None] = field(default_factory=dict)
    version: str = "1"
    removed: tuple[tuple[str, str], ...] = ()
    ends: str = "completed"
    fresh: bool = True


STEP = '- {id: extra, tool: python, action: "work:report", parameters: {rows: "{{ keep.result }}", title: extra}}\n'
TOP = '- {id: top, tool: python, action: "work:keep", parameters: {rows: "{{ keep.result }}", above: 3}}\n'
LIMIT = '- {id: limit, tool: python, action: "work:limit", files: {reads: limit.txt}}\n'
WRITE = '- {id: write, tool: python, action: "work:write", parameters: {text: abc}, files: {writes: written.txt}}\n'
OUTPUTS = "outputs:"
REPORT = 'action: "work:report", parameters: {rows: "{{ keep.result }}"}'
PLAIN: dict[str, Any] = {}

EDITS = {
    # -- parameters and code ---------------------------------------------------------------------------------------
    "a parameter of the last step": Edit(
        {REPORT: REPORT.replace('}}"}', '}}", title: summary}')},
        {"report": "rerun"},
        {"report": "parameters.title: none → 'summary'"},
        "report",
    ),
    "a parameter of the first step": Edit(
        {"rows: 4": "rows: 5"},
        {"load": "rerun", "keep": "rerun?", "report": "rerun?"},
        {"load": "parameters.rows: 4 → 5", "keep": "reads load; kept if that comes out the same"},
        "load keep report",
    ),
    "an upstream step whose value stays the same": Edit(
        {"list(range(rows))": "sorted(range(rows))"},
        {"load": "rerun", "keep": "rerun?", "report": "rerun?"},
        {"load": "code of work:load"},
        "load",
    ),
    "an upstream step whose value differs, and cut off one step later": Edit(
        {"list(range(rows))": "list(range(-5, rows))"},
        {"load": "rerun", "keep": "rerun?", "report": "rerun?"},
        {},
        "load keep",
    ),
    "a Python function": Edit(
        {'f"{title}: {size(rows)}"': 'f"{title} = {size(rows)}"'},
        {"report": "rerun"},
        {"report": "code of work:report"},
        "report",
    ),
    "a helper that a function calls": Edit(
        {"len(rows)": "len(rows) + 1"}, {"report": "rerun"}, {"report": "code of work:size"}, "report"
    ),
    "a Python function, in a plain resume": Edit(
        {"len(rows)": "len(rows) + 1"},
        {},
        {"report": "kept, though code of work:size"},
        options=PLAIN,
        fresh=False,
    ),
    "a Python function, in a plain resume that follows changes": Edit(
        {"len(rows)": "len(rows) + 1"},
        {"report": "rerun"},
        {"report": "code of work:size"},
        "report",
        options={"on_change": "rerun"},
    ),
    "the version of a tool": Edit(
        version="2", plan={"side": "rerun"}, why={"side": "tool version: 1 → 2"}, runs="side"
    ),
    "another tool": Edit(
        {"tool: versioned, parameters: {x: 2}": 'tool: python, action: "work:load", parameters: {rows: 2}'},
        {"side": "rerun"},
        {"side": "tool: versioned → python"},
        "side",
    ),
    # -- the graph -------------------------------------------------------------------------------------------------
    "a new step": Edit({OUTPUTS: STEP + OUTPUTS}, {"extra": "run"}, {"extra": "new"}, "extra"),
    "a new step in the middle": Edit(
        {
            OUTPUTS: TOP + OUTPUTS,
            REPORT: REPORT.replace("keep", "top"),
        },
        {"top": "run", "report": "rerun?"},
        {"report": "reads top; kept if that comes out the same"},
        "top report",
    ),
    "a step removed": Edit({STEP: ""}, before={OUTPUTS: STEP + OUTPUTS}, removed=(("extra", "completed"),)),
    "a step renamed, which says so": Edit(
        {"id: load": "id: fetch, renamed_from: load", "load.result": "fetch.result"}, {"load": "", "fetch": "reuse"}
    ),
    "a step renamed, which does not say so": Edit(
        {"id: load": "id: fetch", "load.result": "fetch.result"},
        {"load": "", "fetch": "run", "keep": "rerun?", "report": "rerun?"},
        {"fetch": "new", "keep": "reads fetch; kept if that comes out the same"},
        "fetch",
        removed=(("load", "completed"),),
    ),
    "a template that reads another step": Edit(
        {"{{ keep.result }}": "{{ load.result }}"}, {"report": "rerun"}, {"report": "parameters.rows"}, "report"
    ),
    "a template that reads another step of the same value": Edit(
        {'rows: "{{ load.result }}"': 'rows: "{{ again.result }}"'},
        before={OUTPUTS: '- {id: again, tool: python, action: "work:load", parameters: {rows: 4}}\n' + OUTPUTS},
    ),
    "a dependency that is only an order": Edit({"dependencies: [side]": "dependencies: [side, report]"}),
    "a dependency that is only an order, gone": Edit({"dependencies: [side]": "dependencies: []"}),
    # -- what never counts -----------------------------------------------------------------------------------------
    "a comment": Edit({"inputs:": "# what is above this is kept\ninputs:"}),
    "a comment in the code": Edit({"def load": "# loads\ndef load"}),
    "the order of keys": Edit(
        {
            '{rows: "{{ load.result }}", above: "{{ inputs.above }}"}': '{above: "{{ inputs.above }}", '
            'rows: "{{ load.result }}"}',
        }
    ),
    "retry, timeout, name, description and resume": Edit(
        {
            "{id: load,": "{id: load, name: Load, description: rows, timeout: 9, retry: 3, resume: {critical: true},",
            "id: edited": "id: edited\nname: Edited\ndescription: all of it\nversion: 2",
        }
    ),
    "outputs": Edit({"{report: ": '{rows: "{{ keep.result }}", report: '}),
    # -- inputs ----------------------------------------------------------------------------------------------------
    "the default of an input": Edit(
        {"above: 2": "above: 3"},
        {"keep": "rerun", "report": "rerun?"},
        {"keep": "parameters.above: 2 → 3"},
        "keep report",
    ),
    "the default of an input that the run was given": Edit({"above: 2": "above: 3"}, inputs={"above": 1}, fresh=False),
    "the default of an input that nothing reads": Edit(
        {"spare: 1": "spare: 2"}, before={"above: 2": "above: 2, spare: 1"}
    ),
    "the schema of an input": Edit(
        {"minimum: 1": "minimum: 2"}, before={"{above: 2}": "{above: {schema: {minimum: 1}, default: 2}}"}
    ),
    "a new input": Edit(
        {"{above: 2}": "{above: 2, title: sums}", REPORT: REPORT.replace('}}"}', '}}", title: "{{ inputs.title }}"}')},
        {"report": "rerun"},
        {"report": "parameters.title: none → 'sums'"},
        "report",
    ),
    # -- conditions ------------------------------------------------------------------------------------------------
    "a condition that is false now": Edit(
        {"{id: report,": '{id: report, condition: "inputs.above > 2",'},
        {"report": "skip"},
        {"report": "its condition is false now"},
    ),
    "a condition that is true now": Edit(
        {"above > 2": "above > 1"},
        {"report": "rerun"},
        {"report": "condition: false → true"},
        "report",
        before={"{id: report,": '{id: report, condition: "inputs.above > 2",'},
    ),
    "a condition in other words": Edit(
        {"above > 1": "above >= 2"}, before={"{id: report,": '{id: report, condition: "inputs.above > 1",'}
    ),
    "a condition in other words, still false": Edit(
        {"above > 2": "above >= 3"}, before={"{id: report,": '{id: report, condition: "inputs.above > 2",'}
    ),
    "an input that makes a condition false, and what reads the step": Edit(
        {"above: 2": "above: 1"},
        {"keep": "skip", "report": "rerun?"},
        {"keep": "its condition is false now"},
        "report",
        before={"{id: keep,": '{id: keep, condition: "inputs.above > 1",', "len(rows)": "len(rows or ())"},
    ),
    # -- files -----------------------------------------------------------------------------------------------------
    "a file that a step reads": Edit(
        files={"limit.txt": "9"},
        plan={"limit": "rerun"},
        why={"limit": "file limit.txt"},
        runs="limit",
        before={OUTPUTS: LIMIT + OUTPUTS},
    ),
    "a file that a step reads, written anew and the same": Edit(
        files={"limit.txt": "5"}, before={OUTPUTS: LIMIT + OUTPUTS}
    ),
    "a file that a step reads, in a plain resume": Edit(
        files={"limit.txt": "9"},
        why={"limit": "kept, though file limit.txt"},
        before={OUTPUTS: LIMIT + OUTPUTS},
        options=PLAIN,
        fresh=False,
    ),
    "a file that a step wrote, gone": Edit(
        files={"written.txt": None},
        plan={"write": "rerun"},
        why={"write": "output file written.txt: 3 B"},
        runs="write",
        before={OUTPUTS: WRITE + OUTPUTS},
    ),
    "a file that a step wrote, altered": Edit(
        files={"written.txt": "xyz"},
        plan={"write": "rerun"},
        why={"write": "output file written.txt: 3 B"},
        runs="write",
        before={OUTPUTS: WRITE + OUTPUTS},
    ),
    "another file to read": Edit(
        {"reads: limit.txt": "reads: [limit.txt, pipeline.yaml]"},
        {"limit": "rerun"},
        {"limit": "files.reads"},
        "limit",
        before={OUTPUTS: LIMIT + OUTPUTS},
    ),
    # -- schemas ---------------------------------------------------------------------------------------------------
    "an output schema that the result satisfies": Edit({"{id: load,": "{id: load, output_schema: {type: array},"}),
    "an output schema that the result does not satisfy, and the code with it": Edit(
        {"{id: report,": "{id: report, output_schema: {type: integer},", 'f"{title}: {size(rows)}"': "size(rows)"},
        {"report": "rerun"},
        {"report": "output_schema: satisfied →"},
        "report",
    ),
    "an output schema that no result satisfies": Edit(
        {"{id: report,": "{id: report, output_schema: {type: integer},"},
        {"report": "rerun"},
        {"report": "output_schema: satisfied →"},
        "report",
        ends="ExecutionFailed",
        fresh=False,
    ),
    # -- migration -------------------------------------------------------------------------------------------------
    "a step whose result is migrated": Edit(
        {"{id: report,": "{id: report, migrate: 'work:shorter',", REPORT: REPORT.replace('}}"}', '}}", title: sum}')},
        {"report": "rerun"},
        {"report": "its result goes through work:shorter: parameters.title: none → 'sum'"},
        "",
        fresh=False,
    ),
    "a step that could be migrated, and is given something else as well": Edit(
        {
            "{id: report,": "{id: report, migrate: 'work:shorter',",
            REPORT: REPORT.replace('}}"}', '}}", title: sum}'),
            "rows: 4": "rows: 5",
        },
        {"load": "rerun", "keep": "rerun?", "report": "rerun?"},
        {"report": "reads keep"},
        "load keep report",
    ),
    "a step that could be migrated, and what it is given comes out the same": Edit(
        {
            "{id: report,": "{id: report, migrate: 'work:shorter',",
            REPORT: REPORT.replace('}}"}', '}}", title: sum}'),
            "list(range(rows))": "[row for row in range(rows)]",
        },
        {"load": "rerun", "keep": "rerun?", "report": "rerun?"},
        {"report": "reads keep"},
        "load",
        fresh=False,
    ),
    "a step that could be migrated, and has not changed": Edit(
        {"{id: report,": "{id: report, migrate: 'work:shorter',"}
    ),
    "the code of a step that was to be migrated once": Edit(
        {'f"{title}: {size(rows)}"': 'f"{title} = {size(rows)}"'},
        {"report": "rerun"},
        {"report": "code of work:report"},
        "report",
        before={"{id: report,": "{id: report, migrate: 'work:shorter',"},
    ),
    "a file read by a step that could be migrated": Edit(
        {"{id: limit,": "{id: limit, migrate: 'work:shorter',"},
        files={"limit.txt": "9"},
        plan={"limit": "rerun"},
        why={"limit": "file limit.txt"},
        runs="limit",
        before={OUTPUTS: LIMIT + OUTPUTS},
    ),
    "a failed step whose saved progress is migrated": Edit(
        {"{id: report,": "{id: report, migrate: 'work:shorter',", "work:count": "work:resumed"},
        {"report": "rerun"},
        {"report": "changed since it failed: action: 'work:count' → 'work:resumed'"},
        "report",
        before={"work:report": "work:count"},
        fresh=False,
    ),
    # -- what is done with changes ---------------------------------------------------------------------------------
    "a step that keeps its result": Edit(
        {"rows: 4": "rows: 5"},
        {},
        {"load": "kept, though parameters.rows: 4 → 5 (on_change is keep)"},
        before={"{id: load,": "{id: load, on_change: keep,"},
        fresh=False,
    ),
    "a resume that keeps results": Edit(
        {"rows: 4": "rows: 5"},
        {},
        {"load": "kept, though parameters.rows: 4 → 5 (on_change is keep)"},
        options={"pipeline": "pipeline.yaml", "on_change": "keep"},
        fresh=False,
    ),
    "a reader that keeps its result": Edit(
        {"rows: 4": "rows: 5"},
        {"load": "rerun"},
        {"keep": "kept, whatever load does: on_change is keep"},
        "load",
        before={"{id: keep,": "{id: keep, on_change: keep,"},
        fresh=False,
    ),
    "a step that was edited, and asked for": Edit(
        {"rows: 4": "rows: 5"},
        {"load": "rerun", "keep": "rerun?", "report": "rerun?"},
        {"load": "asked for"},
        "load keep report",
        before={"{id: load,": "{id: load, on_change: keep,"},
        options={"pipeline": "pipeline.yaml", "rerun": ["load"]},
    ),
    # -- failed steps ----------------------------------------------------------------------------------------------
    "a failed step that was mended in the file": Edit(
        {"work:broken": "work:report"},
        {"report": "rerun"},
        {"report": "changed since it failed: action: 'work:broken' → 'work:report'"},
        "report",
        before={"work:report": "work:broken"},
    ),
    "a failed step that was mended in the code, in a plain resume": Edit(
        {'raise ValueError("broken")': "return size(rows)"},
        {"report": "rerun"},
        {"report": "changed since it failed: code of work:broken"},
        "report",
        before={"work:report": "work:broken"},
        options=PLAIN,
    ),
    "a parked step that was mended in the code": Edit(
        {'raise ValueError("broken")': "return size(rows)"},
        {"report": "rerun"},
        {"report": "changed since it failed: code of work:broken"},
        "report",
        before={"work:report": "work:broken", "inputs:": "resume: {max_retries: 0}\ninputs:"},
        options=PLAIN,
    ),
    "a parked step that was not mended": Edit(
        {},
        {"report": "wait"},
        {"report": "parked: 1 failures, 0 retries allowed"},
        before={"work:report": "work:broken", "inputs:": "resume: {max_retries: 0}\ninputs:"},
        options=PLAIN,
        ends="ExecutionFailed",
        fresh=False,
    ),
    "a parked step whose input was mended upstream": Edit(
        {"rows: 1": "rows: 9"},
        {"load": "rerun", "keep": "rerun?", "report": "rerun"},
        {"report": "reads keep"},
        "load keep report",
        before={
            "rows: 4": "rows: 1",
            'return f"{title}: {size(rows)}"': 'return f"{title}: {rows[0]}"',
            "inputs:": "resume: {max_retries: 0}\ninputs:",
        },
    ),
    "a parked step whose input of the pipeline was mended": Edit(
        {"above: 7": "above: 1"},
        {"keep": "rerun", "report": "rerun"},
        {},
        "keep report",
        before={
            "above: 2": "above: 7",
            'return f"{title}: {size(rows)}"': 'return f"{title}: {rows[0]}"',
            "inputs:": "resume: {max_retries: 0}\ninputs:",
        },
    ),
}


def write(ground: Ground, texts: dict[str, str], edits: dict[str, str]) -> None:
    """Edit the texts of the files, and write them; each edit must find its place."""
    for old, new in edits.items():
        assert any(old in text for text in texts.values()), f"nothing to edit: {old}"
        for name, text in texts.items():
            texts[name] = text.replace(old, new)
    ground.pipeline(texts["pipeline"])
    ground.code(texts["code"])


MIGRATED: dict[str, Any] = {
    "a step whose result is migrated": "report: 2 (result)",
    "a step that could be migrated, and what it is given comes out the same": "report: 2 (result)",
    "a failed step whose saved progress is migrated": {"done": "migrated"},
}


@pytest.mark.parametrize("kind", EDITS)
async def test_a_kind_of_edit(kind: str) -> None:
    edit = EDITS[kind]
    ground = Ground(f"memory://{uuid4()}")
    texts = {"pipeline": "id: edited\n" + PIPELINE, "code": CODE}
    write(ground, texts, edit.before)
    (ground.folder / "limit.txt").write_text("5", encoding="utf-8")
    await ground.run(**edit.inputs)
    write(ground, texts, edit.edit)
    ground.version = edit.version
    for name, text in edit.files.items():
        if text is None:
            (ground.folder / name).unlink()
        else:
            (ground.folder / name).write_text(text, encoding="utf-8")

    plan = await ground.plan(**edit.options)
    expected = {name: verb for name, verb in (NOTHING | edit.plan).items() if verb}
    for line in texts["pipeline"].splitlines():
        if line.startswith("- {id: ") and (name := line[7:].split(",")[0]) not in expected:
            expected[name] = "reuse"
    decisions = {str(each.task): each for each in plan.decisions}
    assert {name: told(each) for name, each in decisions.items()} == expected
    for name, reason in edit.why.items():
        assert reason in decisions[name].reason
    assert plan.removed == edit.removed

    ran = await ground.resume(**edit.options, expect=plan)
    assert (ran, ground.status) == (edit.runs.split(), edit.ends), ground.error
    migrated = {str(each.task) for each in plan.decisions if "goes through" in each.reason}
    assert must_run(plan) - migrated <= set(ran) <= must_run(plan) | may_run(plan)

    again = await ground.plan()
    if edit.ends == "completed":
        assert {told(each) for each in again.decisions} == {"reuse"}
        assert await ground.resume() == []
    if edit.fresh:
        results, outputs = await ground.results(), ground.outputs
        await ground.run_again("fresh")
        assert (results, outputs) == (await ground.results("fresh"), ground.outputs)
    if kind in MIGRATED:
        assert (await ground.results())["report"] == ("completed", MIGRATED[kind])


async def test_a_step_that_must_not_change_says_so_and_nothing_runs() -> None:
    ground = Ground(f"memory://{uuid4()}")
    texts = {"pipeline": "id: edited\n" + PIPELINE, "code": CODE}
    write(ground, texts, {"{id: report,": "{id: report, on_change: fail,"})
    await ground.run()
    journal = await ground.facts()
    write(ground, texts, {"rows: 4": "rows: 5"})
    with pytest.raises(PipelineChanged, match=r"report: reads keep .its own on_change: --rerun it, or edit that"):
        await ground.resume(pipeline="pipeline.yaml")
    with pytest.raises(PipelineChanged, match=r"load: parameters.rows: 4 → 5\n"):
        await ground.resume(pipeline="pipeline.yaml", on_change="fail")
    assert (ground.ran(), await ground.facts()) == ([], journal)
    # What leads on: asking for it, or editing it.
    ran = await ground.resume(pipeline="pipeline.yaml", rerun=["report"])
    assert ran == ["load", "keep", "report"]


async def test_an_edit_that_is_taken_back_before_all_of_it_ran() -> None:
    """The step behind the one that fails has kept what it had."""
    ground = Ground(f"memory://{uuid4()}")
    texts = {"pipeline": "id: edited\n" + PIPELINE, "code": CODE}
    write(ground, texts, {})
    await ground.run()
    before = await ground.results()
    edits = {
        "work:keep": "work:broken",
        ', above: "{{ inputs.above }}"': "",
        '{{ keep.result }}"': '{{ keep.result }}", title: x',
    }
    write(ground, texts, edits)
    assert await ground.resume(pipeline="pipeline.yaml") == ["keep"]
    assert ground.status == "ExecutionFailed"
    write(ground, texts, {new: old for old, new in edits.items() if new})
    texts["pipeline"] = "id: edited\n" + PIPELINE
    write(ground, texts, {})
    plan = await ground.plan(pipeline="pipeline.yaml")
    assert (must_run(plan), may_run(plan)) == ({"keep"}, {"report"})
    assert await ground.resume(pipeline="pipeline.yaml") == ["keep"]
    assert await ground.results() == before
    assert RUN
