"""What comes out of order: writes before their checkpoint, checkpoints behind the newest, the same one again."""

from __future__ import annotations

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from orchestrator.integrations.langgraph import OrchestratorSaver
from tests.integrations.graphs import on
from tests.integrations.stores import id_of, put


@pytest.mark.parametrize("again", [False, True], ids=["one saver", "another saver took the thread meanwhile"])
async def test_writes_that_come_before_their_checkpoint_are_found(near_url: str, again: bool) -> None:
    async with OrchestratorSaver(near_url) as saver, OrchestratorSaver(near_url) as other:
        await put(saver, "t", {"n": 1})
        checkpoint = empty_checkpoint()
        early = on("t", checkpoint_ns="", checkpoint_id=checkpoint["id"])
        await saver.aput_writes(early, [("n", "early")], "a")
        if again:
            await put(other, "t", {"n": 1}, namespace="elsewhere")
        await saver.aput_writes(early, [("n", "early, too")], "b")
        await saver.aput(on("t", checkpoint_ns=""), checkpoint, {}, {})
        await saver.aput_writes(early, [("n", "late")], "c")
        for reader in (saver, other):
            for asked in (on("t"), early):
                found = await reader.aget_tuple(asked)
                assert found is not None
                assert found.pending_writes == [("a", "n", "early"), ("b", "n", "early, too"), ("c", "n", "late")]


async def test_the_greatest_id_is_the_newest_whatever_came_last(near_url: str) -> None:
    late = empty_checkpoint()
    async with OrchestratorSaver(near_url) as saver:
        newest = await put(saver, "t", {"n": 2})
        await saver.aput_writes(newest, [("n", 2)], "task")
        await saver.aput(on("t", checkpoint_ns=""), late, {}, {})
    async with OrchestratorSaver(near_url) as saver:
        found = await saver.aget_tuple(on("t"))
        assert found is not None
        assert (found.checkpoint["id"], found.pending_writes) == (id_of(newest), [("task", "n", 2)])
        following = await put(saver, "t", {"n": 3})
        found = await saver.aget_tuple(on("t"))
        assert found is not None
        assert found.checkpoint["id"] == id_of(following)


async def test_a_checkpoint_put_again_replaces_the_first_and_keeps_its_writes(near_url: str) -> None:
    checkpoint = empty_checkpoint()
    async with OrchestratorSaver(near_url) as saver:
        kept = await saver.aput(on("t", checkpoint_ns=""), checkpoint, {"step": 1}, {})
        await saver.aput_writes(kept, [("n", 1)], "task")
        await saver.aput(on("t", checkpoint_ns=""), checkpoint, {"step": 2}, {})
        listed = [each async for each in saver.alist(on("t"))]
        assert [(each.metadata["step"], each.pending_writes) for each in listed] == [(2, [("task", "n", 1)])]
        assert await saver.aget_tuple(on("t")) == listed[0]


async def test_a_write_again_is_the_first_one_but_langgraphs_own_is_the_last(near_url: str) -> None:
    async with OrchestratorSaver(near_url) as saver:
        kept = await put(saver, "t", {"n": 1})
        for value in (1, 2):
            await saver.aput_writes(kept, [("n", value), ("__error__", ValueError(value))], "task", "path")
        found = await saver.aget_tuple(kept)
        assert found is not None
        assert found.pending_writes == [("task", "__error__", "ValueError(2)"), ("task", "n", 1)]
