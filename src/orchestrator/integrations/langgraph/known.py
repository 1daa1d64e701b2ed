"""Classes that LangGraph and LangChain themselves put into checkpoints: known from the start, each one named here.

All of them come back as data: field by field, without a call of ``__init__`` or a validator. Everything else is
registered by whoever uses it, with ``orchestrator.register``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from langchain_core import documents, messages
from langgraph.checkpoint.serde import types as serde

from orchestrator.state.registry import BY_TYPE, register

try:
    from langgraph import types as graph
except ModuleNotFoundError:  # the checkpoint package alone, without graphs
    graph = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

_GRAPH = ("Command", "Interrupt", "Overwrite", "TimeoutPolicy")
_MESSAGES = (
    "AIMessage",
    "AIMessageChunk",
    "ChatMessage",
    "ChatMessageChunk",
    "FunctionMessage",
    "FunctionMessageChunk",
    "HumanMessage",
    "HumanMessageChunk",
    "RemoveMessage",
    "SystemMessage",
    "SystemMessageChunk",
    "ToolMessage",
    "ToolMessageChunk",
)


def register_known() -> None:
    """Register what is installed of the classes named in this module; those registered otherwise stay as they are."""
    for module, names, package in (
        (graph, _GRAPH, "langgraph"),
        (serde, ("_DeltaSnapshot",), "langgraph"),
        (messages, _MESSAGES, "langchain_core"),
        (documents, ("Document",), "langchain_core"),
    ):
        for name in names:
            if hasattr(module, name):
                _register(getattr(module, name), package)
    if graph is not None:
        _register(graph.Send, "langgraph", *_by_attributes(graph.Send, ("node", "arg", "timeout")))
    _register(deque, "collections", _take_deque, _make_deque)


def _register(
    cls: Any, package: str, take: Callable[[Any], Any] | None = None, make: Callable[[Any], Any] | None = None
) -> None:
    if cls not in BY_TYPE:
        register(cls, f"{package}.{cls.__name__.lstrip('_')}", to_plain=take, from_plain=make)


def _by_attributes(cls: Any, names: tuple[str, ...]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    def take(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in names if hasattr(value, name)}

    def make(stored: dict[str, Any]) -> Any:
        made = cls.__new__(cls)
        for name in names:
            if name in stored:
                object.__setattr__(made, name, stored[name])
        return made

    return take, make


def _take_deque(value: deque[Any]) -> dict[str, Any]:
    return {"maxlen": value.maxlen, "items": list(value)}


def _make_deque(stored: dict[str, Any]) -> deque[Any]:
    return deque(stored["items"], stored["maxlen"])
