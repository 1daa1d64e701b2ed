from __future__ import annotations

from typing import Any

import pytest

from orchestrator import CheckpointUnreadable, NoCheckpoint, Orchestrator, OrchestratorError, UsageError
from orchestrator.core import comparing
from orchestrator.domain.changes import MISSING, Change
from orchestrator.domain.diff import Contents, TaskDifference
from orchestrator.errors import StoreDamaged, StoreIncompatible
from tests.unit.core.bench import Bench, step

LARGE = "x" * comparing.MAX_BYTES
RESULTS: dict[str, tuple[Any, Any]] = {
    "same": ({"n": 1}, {"n": 1}),
    "part": ({"rows": [{"price": 1.5}]}, {"rows": [{"price": 2.0}]}),
    "order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "large": (LARGE, LARGE + "y"),
    "kind": (1, 1.0),
}


async def two(bench: Bench, orchestrator: Orchestrator) -> None:
    """Record two executions, `one` and `two`, whose steps have the results above."""
    definition = bench.pipeline(*(step(name) for name in RESULTS), inputs={"who": "you"})
    for place, name in enumerate(("one", "two")):
        results = {task: pair[place] for task, pair in RESULTS.items()}
        await orchestrator.resume_manager.create_resume_checkpoint(
            name, definition, completed_tasks=results, task_results=results, context={"inputs": {"who": name}}
        )


def reads(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[Any]:
    """Return the references that are read from here on; with ``error``, reading a stored one ends with it."""
    store, read = orchestrator._adapters.store, []
    get = store.get

    async def noting(ref: Any) -> bytes:
        read.append(ref)
        if error is not None and not ref.inline:
            raise error
        return await get(ref)

    monkeypatch.setattr(store, "get", noting)
    return read


async def test_what_differs_is_looked_into_and_nothing_else_is_loaded(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two(bench, orchestrator)
    read = reads(orchestrator, monkeypatch)
    found = await orchestrator.diff("one", "two")
    assert len(read) == 2 + 2 + 2 * 3  # definitions, inputs, and those results that differ and are not too large
    assert {each.task: each.contents for each in found.tasks} == {
        "same": None,
        "part": Contents((Change("rows[0].price", 1.5, 2.0),)),
        "order": Contents(()),
        "large": Contents(None, "larger than 1,048,576 bytes"),
        "kind": Contents((Change("", 1, 1.0),)),
    }
    assert found.inputs == (Change("who", "one", "two"),)
    assert (await orchestrator.diff("one", "one")).equal


async def test_only_the_first_results_are_looked_into_and_none_if_nobody_wants_to(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two(bench, orchestrator)
    monkeypatch.setattr(comparing, "MAX_LOADED", 1)
    found = {each.task: each.contents for each in (await orchestrator.diff("one", "two")).tasks}
    assert found["part"] == Contents((Change("rows[0].price", 1.5, 2.0),))
    assert found["order"] == found["kind"] == Contents(None, "only the first 1 results are looked into")
    read = reads(orchestrator, monkeypatch)
    bare = await orchestrator.diff("one", "two", values=False)
    assert len(read) == 4
    assert [each.contents for each in bare.tasks] == [None, *[Contents(None)] * 4]
    assert bare.inputs
    assert not bare.equal


async def test_two_positions_of_one_execution_tell_what_happened_in_between(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    steps = step("a", value=1), step("b", after="a", value=2)
    await orchestrator.run_pipeline(bench.pipeline(*steps, outputs={"it": "{{ b.result }}"}), execution_id="e")
    checkpoints = await orchestrator.state_manager.list_checkpoints("e")
    (past,) = (each["checkpoint_id"] for each in checkpoints if each["task"] == "a")
    found = await orchestrator.diff(past, "e")
    assert [each.difference for each in found.tasks] == [TaskDifference.NONE, TaskDifference.STATUS]
    assert (found.a.checkpoint_id, found.a.done, found.b.done) == (past, 1, 2)
    assert found.outputs == Contents((Change("it", MISSING, 2),))
    assert found.slowest() == []
    assert not found.inputs
    assert (await orchestrator.diff(found.b.checkpoint_id, "e")).equal


async def test_before_and_after_an_edit_of_one_execution(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.run_pipeline(bench.pipeline(step("a", value=1), step("b", value=2)), execution_id="e")
    past = (await orchestrator.diff("e", "e")).a.checkpoint_id
    edited = bench.pipeline({**step("c", value=1), "renamed_from": "a"}, step("b", value=3))
    await orchestrator.resume_pipeline("e", pipeline=edited)
    found = await orchestrator.diff(past, "e")
    assert found.definition.renamed == {"c": "a"}
    assert found.definition.changed["b"] == [Change("parameters.value", 2, 3)]
    assert [(each.task, each.was, each.difference.value) for each in found.tasks] == [
        ("c", "a", "none"),
        ("b", None, "result"),
    ]
    assert [each.task for each in found.slowest()] in ([], ["b"])


BAD: dict[str, tuple[str, type[OrchestratorError], int, str]] = {
    "unknown": ("nobody", NoCheckpoint, 3, "'nobody': there is no such execution in this store"),
    "unknown, with a position": ("nobody@1", NoCheckpoint, 3, "there is no such execution"),
    "after the end": ("e@99", NoCheckpoint, 3, "no position 99: the journal of execution 'e' has 2 facts"),
    "no pipeline": ("thread", NoCheckpoint, 3, "it was saved without a pipeline"),
    "position 0": ("e@0", UsageError, 2, "not a checkpoint: 'e@0'"),
    "no position": ("e@", UsageError, 2, "expected EXECUTION@SEQ"),
    "no execution": ("@3", UsageError, 2, "not a checkpoint"),
    "a path": ("../e", UsageError, 2, "not an execution id"),
    "nothing": ("", UsageError, 2, "not an execution id: ''"),
}


@pytest.mark.parametrize(("text", "kind", "code", "message"), BAD.values(), ids=BAD)
async def test_what_cannot_be_compared_is_told_as_a_resume_would(
    bench: Bench, orchestrator: Orchestrator, text: str, kind: type[OrchestratorError], code: int, message: str
) -> None:
    await orchestrator.resume_manager.create_resume_checkpoint("e", bench.pipeline(step("a")))
    await orchestrator.state_manager.save_checkpoint("thread", {"x": 1})
    for pair in (("e", text), (text, "e")):
        with pytest.raises(kind) as caught:
            await orchestrator.diff(*pair)
        assert message in str(caught.value)
        assert caught.value.exit_code == code


async def test_damage_is_an_error_and_a_class_that_is_not_registered_here_is_not(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = bench.pipeline(step("a"))
    for name, text in (("one", "x"), ("two", "y")):
        value = {"a": text * 2000}
        await orchestrator.resume_manager.create_resume_checkpoint(name, definition, ["a"], value)
    with monkeypatch.context() as patch:
        reads(orchestrator, patch, StoreIncompatible("it holds a Reading"))
        found = await orchestrator.diff("one", "two")
        assert found.tasks[0].contents == Contents(None, "it holds a Reading")
    with monkeypatch.context() as patch:
        reads(orchestrator, patch, StoreDamaged("value 12ab", "wrong checksum"))
        with pytest.raises(StoreDamaged, match="value 12ab"):
            await orchestrator.diff("one", "two")
        wide = bench.pipeline(step("a"), inputs={"who": "z" * 2000})
        await orchestrator.resume_manager.create_resume_checkpoint("three", wide)
        with pytest.raises(CheckpointUnreadable, match="value 12ab") as caught:
            await orchestrator.diff("one", "three")
        assert caught.value.exit_code == 7
