"""Classes that LangGraph and LangChain themselves put into checkpoints: known from the start, each one named here.

All of them come back as data: field by field, without a call of ``__init__`` or a validator. Everything else is
registered by whoever uses it, with ``orchestrator.register``.
"""

from __future__ import annotations

import importlib
from collections import deque
from typing import TYPE_CHECKING, Any

from orchestrator.state.registry import BY_TYPE, register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PLAIN = {
    "langgraph.types": ("Command", "Interrupt", "Overwrite", "TimeoutPolicy"),
    "langgraph.checkpoint.serde.types": ("_DeltaSnapshot",),
    "langchain_core.documents": ("Document",),
    "langchain_core.messages": (
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
    ),
}


def register_known() -> None:
    """Register what is installed of the classes named in this module; those registered otherwise stay as they are."""
    for module, names in _PLAIN.items():
        for cls in _classes(module, names):
            _register(cls, module)
    for cls in _classes("langgraph.types", ("Send",)):
        take, make = _by_attributes(cls, ("node", "arg", "timeout"))
        _register(cls, "langgraph.types", take, make)
    _register(deque, "collections", _take_deque, _make_deque)


def _classes(module: str, names: Iterable[str]) -> list[Any]:
    """Return those classes that are there: the names are ours, and nothing that was stored chooses among them."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return []
    return [getattr(found, name) for name in names if hasattr(found, name)]


def _register(
    cls: Any, module: str, take: Callable[[Any], Any] | None = None, make: Callable[[Any], Any] | None = None
) -> None:
    if cls not in BY_TYPE:
        register(cls, f"{module.partition('.')[0]}.{cls.__name__.lstrip('_')}", to_plain=take, from_plain=make)


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
