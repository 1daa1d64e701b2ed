"""What a put, a get and a search cost: as much as what changed, not as much as what there is."""

from __future__ import annotations

from orchestrator.integrations.langgraph import OrchestratorSaver
from tests.integrations.graphs import on
from tests.integrations.stores import Counting, between, id_of, put

LARGE = "x" * 10_000


async def test_a_put_writes_only_the_channels_that_changed(near_url: str) -> None:
    values = {f"channel{number}": f"{number}{LARGE}" for number in range(50)}
    async with OrchestratorSaver(near_url) as saver:
        parent = await put(saver, "t", values)
        counting = await between(saver, Counting)
        for version in (2, 3, 4):
            values = {**values, "channel7": f"{version}{LARGE}"}
            parent = await put(saver, "t", values, parent=id_of(parent), changed={"channel7"}, version=version)
        assert counting.written < 3 * (len(LARGE) + 8_000)
        found = await saver.aget_tuple(on("t"))
        assert found is not None
        assert found.checkpoint["channel_values"] == values
        # A step further back, whose values nobody remembers, costs no more.
        counting.written = 0
        first = min([each.checkpoint["id"] async for each in saver.alist(on("t"))])
        changed = {**values, "channel7": f"7{LARGE}", "channel9": "small"}
        await put(saver, "t", changed, parent=first, changed={"channel7", "channel9"}, version=9)
        assert counting.written < len(LARGE) + 8_000


async def test_the_newest_is_found_at_the_end_whatever_the_length(near_url: str) -> None:
    async with OrchestratorSaver(near_url) as saver:
        parent = None
        for number in range(200):
            kept = await put(saver, "t", {"n": number, "text": LARGE}, parent=parent, version=number + 1)
            parent = id_of(kept)
            await saver.aput_writes(kept, [("n", number)], "task")
    async with OrchestratorSaver(near_url) as saver:
        counting = await between(saver, Counting)
        newest = await saver.aget_tuple(on("t"))
        assert newest is not None
        assert newest.checkpoint["channel_values"]["n"] == 199
        assert newest.pending_writes == [("task", "n", 199)]
        assert counting.commits <= 3
        assert counting.fetched <= 3
        assert await saver.aget_tuple(on("t", checkpoint_ns="never seen")) is None
        assert counting.commits <= 6
        counting.commits = 0
        await put(saver, "t", {"n": 200}, parent=parent, version=201)
        assert counting.commits <= 8
        counting.commits = 0
        await put(saver, "t", {"n": 1}, namespace="new")
        assert counting.commits <= 3


async def test_a_warm_thread_knows_its_namespaces(near_url: str) -> None:
    async with OrchestratorSaver(near_url) as saver:
        for number in range(60):
            await put(saver, "t", {"n": number}, namespace=f"space:{number}")
    async with OrchestratorSaver(near_url) as saver:
        counting = await between(saver, Counting)
        await put(saver, "t", {"n": 60}, namespace="space:60")
        counting.commits = 0
        for number in range(61, 70):
            await put(saver, "t", {"n": number}, namespace=f"space:{number}")
        assert counting.commits <= 10
        for number in range(70):
            found = await saver.aget_tuple(on("t", checkpoint_ns=f"space:{number}"))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"n": number}
        assert await saver.aget_tuple(on("t", checkpoint_ns="space:70")) is None
