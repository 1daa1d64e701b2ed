"""Real graphs on each store: interrupts, time travel, threads, subgraphs, messages, all durabilities."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.types import Command

from orchestrator.integrations.langgraph import OrchestratorSaver
from tests.integrations.graphs import chatting, counting, fanning, nested, on, said

Durability = Literal["sync", "async", "exit"]


async def test_an_interrupted_graph_goes_on_in_another_saver(store_url: str) -> None:
    await interrupt_and_go_on(store_url, "async")


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_other_durabilities(near_url: str, durability: Durability) -> None:
    await interrupt_and_go_on(near_url, durability)


async def interrupt_and_go_on(store_url: str, durability: Durability) -> None:
    effects: list[str] = []
    async with OrchestratorSaver(store_url) as saver:
        asked = await counting(saver, effects).ainvoke({"done": [], "total": 0}, on("t"), durability=durability)
    assert asked["__interrupt__"][0].value == {"so far": 1}
    async with OrchestratorSaver(store_url) as saver:
        graph = counting(saver, effects)
        assert (await graph.aget_state(on("t"))).next == ("ask",)
        ended = await graph.ainvoke(Command(resume=20), on("t"), durability=durability)
    assert ended == {"done": ["first", "ask", "last"], "total": 42}
    assert effects == ["first", "ask", "last"]


def test_the_same_without_an_event_loop(near_url: str) -> None:
    effects: list[str] = []
    with OrchestratorSaver(near_url) as saver:
        counting(saver, effects).invoke({"done": [], "total": 0}, on("t"))
        ended = counting(saver, effects).invoke(Command(resume=2), on("t"))
    assert ended == {"done": ["first", "ask", "last"], "total": 6}
    assert effects == ["first", "ask", "last"]


def test_time_travel(near_url: str) -> None:
    effects: list[str] = []
    with OrchestratorSaver(near_url) as saver:
        graph = counting(saver, effects)
        graph.invoke({"done": [], "total": 0}, on("t"))
        graph.invoke(Command(resume=20), on("t"))
        past = list(graph.get_state_history(on("t")))
        assert [state.values.get("total") for state in past] == [42, 21, 1, 0, None]
        before_last = past[1]
        assert before_last.next == ("last",)
        changed = graph.update_state(before_last.config, {"total": 100})
        assert graph.invoke(None, changed)["total"] == 200
        assert graph.get_state(on("t")).values["total"] == 200
        assert graph.get_state(past[0].config).values["total"] == 42
    assert effects == ["first", "ask", "last", "last"]


async def test_threads_do_not_know_each_other(saver: OrchestratorSaver) -> None:
    graph = counting(saver, [])
    for thread in ("one", "two"):
        await graph.ainvoke({"done": [], "total": 0}, on(thread))
    await graph.ainvoke(Command(resume=1), on("one"))
    assert (await graph.aget_state(on("one"))).values["total"] == 4
    assert (await graph.aget_state(on("two"))).next == ("ask",)
    await saver.adelete_thread("one")
    assert (await graph.aget_state(on("one"))).values == {}
    assert (await graph.aget_state(on("two"))).values["total"] == 1


async def test_many_tasks_at_once(saver: OrchestratorSaver) -> None:
    ended = await fanning(saver, 40).ainvoke({"done": [], "total": 0}, on("t"))
    assert sorted(map(int, ended["done"])) == list(range(40))
    assert ended == (await fanning(saver, 40).aget_state(on("t"))).values


async def test_messages_come_back_as_messages(store_url: str) -> None:
    async with OrchestratorSaver(store_url) as saver:
        await chatting(saver).ainvoke(said("hello"), on("t"))
    async with OrchestratorSaver(store_url) as saver:
        ended = await chatting(saver).ainvoke(said("again"), on("t"))
    assert [(type(each), each.content) for each in ended["messages"]] == [
        (HumanMessage, "hello"),
        (AIMessage, "1: hello"),
        (HumanMessage, "again"),
        (AIMessage, "3: again"),
    ]
    assert all(each.id for each in ended["messages"])


async def test_a_graph_within_a_graph(store_url: str) -> None:
    async with OrchestratorSaver(store_url) as saver:
        await nested(saver).ainvoke({"done": [], "total": 0}, on("t"))
    async with OrchestratorSaver(store_url) as saver:
        graph = nested(saver)
        state: Any = await graph.aget_state(on("t"), subgraphs=True)
        assert state.tasks[0].state.values["done"] == ["before"]
        ended = await graph.ainvoke(Command(resume="fine"), on("t"))
        assert ended["done"] == ["before", "inner:fine"]
        await saver.aprune(["t"])
        assert (await graph.aget_state(on("t"))).values == ended


async def test_a_failed_task_is_told_and_runs_again(saver: OrchestratorSaver) -> None:
    from langgraph.graph import START, StateGraph

    from tests.integrations.graphs import Count

    luck = iter([False, True])

    def gamble(_state: Count) -> dict[str, Any]:
        if not next(luck):
            raise LookupError("out of luck")
        return {"total": 7}

    builder: Any = StateGraph(Count)
    builder.add_node("steady", lambda _state: {"done": ["steady"]})
    builder.add_node("gamble", gamble)
    builder.add_edge(START, "steady")
    builder.add_edge(START, "gamble")
    graph = builder.compile(checkpointer=saver)
    with pytest.raises(LookupError):
        await graph.ainvoke({"done": [], "total": 0}, on("t"))
    told = {task.name: task.error for task in (await graph.aget_state(on("t"))).tasks}
    assert "out of luck" in str(told["gamble"])
    assert await graph.ainvoke(None, on("t")) == {"done": ["steady"], "total": 7}
