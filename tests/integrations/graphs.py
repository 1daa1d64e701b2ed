"""Graphs for the tests."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send, interrupt


class Count(TypedDict):
    done: Annotated[list[str], operator.add]
    total: int


def counting(saver: BaseCheckpointSaver[Any], effects: list[str]) -> Any:
    """Three nodes; the second one asks a person for a number."""

    def first(_state: Count) -> dict[str, Any]:
        effects.append("first")
        return {"done": ["first"], "total": 1}

    def ask(state: Count) -> dict[str, Any]:
        answer = interrupt({"so far": state["total"]})
        effects.append("ask")
        return {"done": ["ask"], "total": state["total"] + answer}

    def last(state: Count) -> dict[str, Any]:
        effects.append("last")
        return {"done": ["last"], "total": state["total"] * 2}

    builder: Any = StateGraph(Count)
    builder.add_node("first", first)
    builder.add_node("ask", ask)
    builder.add_node("last", last)
    builder.add_edge(START, "first")
    builder.add_edge("first", "ask")
    builder.add_edge("ask", "last")
    builder.add_edge("last", END)
    return builder.compile(checkpointer=saver)


def fanning(saver: BaseCheckpointSaver[Any], width: int) -> Any:
    """A node that sends ``width`` tasks, whose results are gathered."""

    def spread(_state: Count) -> list[Send]:
        return [Send("work", {"number": number}) for number in range(width)]

    def work(told: dict[str, int]) -> dict[str, Any]:
        return {"done": [str(told["number"])]}

    builder: Any = StateGraph(Count)
    builder.add_node("begin", lambda _state: {"total": width})
    builder.add_node("work", work)
    builder.add_edge(START, "begin")
    builder.add_conditional_edges("begin", spread, ["work"])
    builder.add_edge("work", END)
    return builder.compile(checkpointer=saver)


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def chatting(saver: BaseCheckpointSaver[Any]) -> Any:
    """A bot that repeats what it hears, and counts."""

    def answer(state: Chat) -> dict[str, Any]:
        heard = state["messages"][-1].content
        return {"messages": [AIMessage(f"{len(state['messages'])}: {heard}", tool_calls=[])]}

    builder: Any = StateGraph(Chat)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def nested(saver: BaseCheckpointSaver[Any]) -> Any:
    """A graph whose one node is a graph that asks a person."""

    def ask(_state: Count) -> dict[str, Any]:
        return {"done": [f"inner:{interrupt('well?')}"]}

    inner: Any = StateGraph(Count)
    inner.add_node("before", lambda _state: {"done": ["before"]})
    inner.add_node("ask", ask)
    inner.add_edge(START, "before")
    inner.add_edge("before", "ask")
    inner.add_edge("ask", END)
    outer: Any = StateGraph(Count)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    outer.add_edge("inner", END)
    return outer.compile(checkpointer=saver)


def said(text: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def on(thread: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": thread, **more}}
