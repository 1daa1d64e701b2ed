"""Pruning, deleting and copying: what stays, what goes, and that a failure at any call loses nothing."""

from __future__ import annotations

import asyncio
import operator
import shutil
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph

from orchestrator import Orchestrator
from orchestrator.errors import StoreUnavailable, UsageError
from orchestrator.integrations.langgraph import OrchestratorSaver
from tests.integrations.graphs import counting, on
from tests.integrations.stores import Failing, between, put

LARGE = "x" * 5_000


async def fill(saver: OrchestratorSaver, thread: str, count: int = 4) -> list[str]:
    """Put checkpoints with large values and writes; return their ids, oldest first."""
    ids = []
    parent = None
    for number in range(count):
        values = {"n": number, "text": f"{number}{LARGE}", "same": LARGE}
        kept = await put(saver, thread, values, parent=parent, version=number + 1, metadata={"run_id": f"r{number}"})
        await saver.aput_writes(kept, [("n", number)], "task")
        parent = kept["configurable"]["checkpoint_id"]
        ids.append(parent)
    return ids


async def ids_of(saver: OrchestratorSaver, thread: str) -> list[str]:
    """Return the ids of a thread's checkpoints, oldest first, having loaded all of their values."""
    found = [each async for each in saver.alist(on(thread))]
    for each in found:
        values = each.checkpoint["channel_values"]
        assert values["text"] == f"{values['n']}{LARGE}"
        assert values["same"] == LARGE
        assert each.pending_writes == [("task", "n", values["n"])]
    return [each.checkpoint["id"] for each in reversed(found)]


async def test_pruning_gives_the_space_back(store_url: str) -> None:
    async with OrchestratorSaver(store_url) as saver, Orchestrator(store_url) as orchestrator:
        ids = await fill(saver, "t", 10)
        before = (await orchestrator.state_manager.get_statistics())["values"]
        await saver.aprune(["t", "no such thread"])
        assert await ids_of(saver, "t") == ids[-1:]
        after = await orchestrator.state_manager.get_statistics()
        assert after["values"] < before / 2
        assert after["executions"] == 1
        more = await fill(saver, "t", 2)
        await saver.aprune(["t"])
        await saver.aprune(["t"])
        assert await ids_of(saver, "t") == more[-1:]
        await saver.adelete_thread("t")
        after = await orchestrator.state_manager.get_statistics()
        assert (after["executions"], after["values"]) == (0, 0)


async def test_deleting_runs_keeps_the_others_of_the_thread(store_url: str) -> None:
    async with OrchestratorSaver(store_url) as saver, OrchestratorSaver(store_url) as other:
        ids = await fill(saver, "t")
        await fill(other, "u", 1)
        await other.adelete_for_runs(["r0", "r2", "never ran"])
        assert await ids_of(saver, "t") == [ids[1], ids[3]]
        assert await ids_of(saver, "u") == []
        following = await fill(saver, "t", 1)
        assert await ids_of(other, "t") == [ids[1], ids[3], *following]


async def test_a_copy_is_a_thread_of_its_own(near_url: str) -> None:
    async with OrchestratorSaver(near_url) as saver:
        ids = await fill(saver, "t", 180)  # more facts than one commit takes
        await saver.acopy_thread("t", "u")
        await saver.adelete_thread("t")
        assert await ids_of(saver, "u") == ids
        newest = await saver.aget_tuple(on("u"))
        assert newest is not None
        assert newest.config["configurable"]["thread_id"] == "u"
        await fill(saver, "t", 1)
        with pytest.raises(UsageError, match="exists already"):
            await saver.acopy_thread("t", "u")
        await saver.acopy_thread("u", "u")
        await saver.acopy_thread("no such thread", "v")
        assert await ids_of(saver, "u") == ids
        assert await ids_of(saver, "v") == []


async def test_pruning_while_others_write_loses_nothing(store_url: str) -> None:
    async with OrchestratorSaver(store_url) as saver, OrchestratorSaver(store_url) as other:
        pruned = asyncio.Event()

        async def write() -> list[str]:
            ids = await fill(saver, "t", 2)
            while not pruned.is_set():
                ids += await fill(saver, "t", 3)
            return ids

        async def prune() -> None:
            for _ in range(3):
                await other.aprune(["t"])
            pruned.set()

        ids, _ = await asyncio.gather(write(), prune())
        found = await ids_of(other, "t")
        assert found == ids[-len(found) :]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("act", ["prune", "delete", "copy"])
async def test_a_process_that_dies_anywhere_leaves_the_thread_whole(quick_path: Path, act: str, after: bool) -> None:
    first = quick_path / "first"
    first.mkdir()
    async with OrchestratorSaver(f"sqlite:///{first}/graph.db") as saver:
        ids = await fill(saver, "t")

    async def do(saver: OrchestratorSaver) -> None:
        if act == "prune":
            await saver.aprune(["t"])
        elif act == "delete":
            await saver.adelete_thread("t")
        else:
            await saver.acopy_thread("t", "u")

    for number in range(1, 100):
        folder = quick_path / str(number)
        shutil.copytree(first, folder)
        url = f"sqlite:///{folder}/graph.db"
        done = False
        async with OrchestratorSaver(url) as saver:
            await between(saver, lambda store, number=number: Failing(store, number, after))
            try:
                await do(saver)
                done = True
            except StoreUnavailable:
                pass
        async with OrchestratorSaver(url) as saver:
            found = await ids_of(saver, "t")
            whole, ended = {"prune": (ids, ids[-1:]), "delete": (ids, []), "copy": (ids, ids)}[act]
            assert found in (whole, ended), number
            await do(saver) if not (act == "copy" and await ids_of(saver, "u")) else None
            assert await ids_of(saver, "t") == ended
            if act == "copy":
                assert await ids_of(saver, "u") == ids
            async with Orchestrator(url) as orchestrator:
                assert await orchestrator.state_manager.verify() == []
                executions = (await orchestrator.state_manager.get_statistics())["executions"]
                assert executions == {"prune": 1, "delete": 0, "copy": 2}[act]
        if done:
            assert number > 2
            return
    raise AssertionError("it never ended")


class Notes(TypedDict):
    notes: Annotated[list[str], DeltaChannel(lambda state, writes: [*state, *(n for w in writes for n in w)])]
    total: Annotated[int, operator.add]


async def test_a_channel_of_changes_survives_pruning(near_url: str) -> None:
    builder: Any = StateGraph(Notes)
    builder.add_node("note", lambda state: {"notes": [f"note {state['total']}"], "total": 1})
    builder.add_edge(START, "note")
    async with OrchestratorSaver(near_url) as saver:
        graph = builder.compile(checkpointer=saver)
        ended: Any = None
        for _ in range(5):
            ended = await graph.ainvoke({"notes": ["asked"], "total": 0}, on("t"))
        assert len(ended["notes"]) == 10
        await saver.aprune(["t"])
        assert (await graph.aget_state(on("t"))).values == ended


def test_pruning_without_an_event_loop(near_url: str) -> None:
    with OrchestratorSaver(near_url) as saver:
        graph = counting(saver, [])
        graph.invoke({"done": [], "total": 0}, on("t"))
        saver.copy_thread("t", "u")
        saver.prune(["t"])
        assert len(list(saver.list(on("t")))) == 1
        assert len(list(saver.list(on("u"), limit=2))) == 2
        assert len(list(saver.list(None))) > 3
        saver.delete_for_runs([str(next(saver.list(on("u"))).metadata.get("run_id"))])
        saver.prune(["t"], strategy="delete")
        saver.delete_thread("u")
        assert list(saver.list(None)) == []
        with pytest.raises(UsageError, match="keep_latest, delete"):
            saver.prune(["t"], strategy="keep_best")
