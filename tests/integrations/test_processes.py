"""Processes that die, and processes that write to one thread at the same time."""

from __future__ import annotations

import signal
from pathlib import Path

from orchestrator import Orchestrator
from orchestrator.integrations.langgraph import OrchestratorSaver
from tests.integrations.children import go, graph_of, run, start, text_of, write
from tests.integrations.graphs import on


def test_a_graph_whose_process_was_killed_goes_on_in_a_new_one(shared_url: str, tmp_path: Path) -> None:
    (tmp_path / "deadly").touch()
    child = start(run, shared_url, "t", tmp_path)
    assert child.rest() == []
    assert child.process.exitcode == -signal.SIGKILL
    with OrchestratorSaver(shared_url) as saver:
        graph = graph_of(saver, tmp_path)
        assert graph.get_state(on("t")).next == ("second",)
        assert graph.invoke(None, on("t")) == {"done": ["first", "second"], "total": 2}
    assert (tmp_path / "effects").read_text().split() == ["first", "second", "second"]


async def test_two_processes_and_a_killed_one_lose_nothing(shared_url: str) -> None:
    writers = {name: start(write, shared_url, "t", name, 15) for name in ("one", "two")}
    doomed = start(write, shared_url, "t", "doomed", 100_000)
    for child in (*writers.values(), doomed):
        assert child.hear() == "ready"
    for child in (*writers.values(), doomed):
        go(child)
    kept = {doomed.hear(): "doomed" for _ in range(5)}
    doomed.process.kill()
    kept.update(dict.fromkeys(doomed.rest(), "doomed"))
    for name, child in writers.items():
        said = child.rest()
        assert child.process.exitcode == 0
        assert len(said) == 15
        kept.update(dict.fromkeys(said, name))

    async with OrchestratorSaver(shared_url) as saver:
        found = {each.checkpoint["id"]: each async for each in saver.alist(on("t"))}
        assert kept.keys() <= found.keys()
        for identifier, name in kept.items():
            values = found[identifier].checkpoint["channel_values"]
            text = text_of(name, values["number"])
            assert (values["name"], values["text"]) == (name, text)
            assert found[identifier].pending_writes == [(name, "channel", text)]
            alone = await saver.aget_tuple(on("t", checkpoint_ns="", checkpoint_id=identifier))
            assert alone == found[identifier]
        newest = await saver.aget_tuple(on("t"))
        assert newest is not None
        assert newest.checkpoint["id"] == max(found)
    async with Orchestrator(shared_url) as orchestrator:
        assert await orchestrator.state_manager.verify() == []
