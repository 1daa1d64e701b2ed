"""What processes do that write to a LangGraph thread, for tests that kill them or let them quarrel.

They are forked from a server that has LangGraph loaded, which takes longer than all that they do.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import END, START, StateGraph

from orchestrator.integrations.langgraph import OrchestratorSaver
from tests.integrations.graphs import Count, on

ROOT = Path(__file__).parents[2]
SOON = 60
"""Seconds after which a child that said nothing is stuck."""


class Child:
    """A process and what it says."""

    def __init__(self, process: BaseProcess, ear: Connection) -> None:
        self.process = process
        self._ear = ear

    def hear(self) -> Any:
        assert self._ear.poll(SOON), "the child says nothing"
        return self._ear.recv()

    def rest(self) -> list[Any]:
        """Return what it says until it ends."""
        said = []
        try:
            while self._ear.poll(SOON):
                said.append(self._ear.recv())
        except EOFError:
            pass
        self.process.join(SOON)
        return said


def start(act: Any, *arguments: Any) -> Child:
    """Start ``act(pipe, *arguments)`` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    ear, mouth = context.Pipe(duplex=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the server does not know our path otherwise
        process = context.Process(target=act, args=(mouth, *arguments), daemon=True)
        process.start()
    mouth.close()
    return Child(process, ear)


def go(child: Child) -> None:
    """Let a child begin that waits for it."""
    child._ear.send("go")


def graph_of(saver: OrchestratorSaver, folder: Path) -> Any:
    """Two nodes, the second of which kills the process if the file ``deadly`` exists."""

    def note(word: str) -> None:
        with (folder / "effects").open("a", encoding="utf-8") as effects:
            effects.write(f"{word}\n")

    def first(_state: Count) -> dict[str, Any]:
        note("first")
        return {"done": ["first"], "total": 1}

    def second(state: Count) -> dict[str, Any]:
        note("second")
        if (folder / "deadly").exists():
            (folder / "deadly").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"done": ["second"], "total": state["total"] + 1}

    builder: Any = StateGraph(Count)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile(checkpointer=saver)


def run(mouth: Connection, url: str, thread: str, folder: Path) -> None:
    """Run the graph from its beginning."""
    with OrchestratorSaver(url) as saver:
        graph_of(saver, folder).invoke({"done": [], "total": 0}, on(thread), durability="sync")
    mouth.send("done")


def write(mouth: Connection, url: str, thread: str, name: str, count: int) -> None:
    """Once told to go, put ``count`` checkpoints with a write each, and say the id of each once it is kept."""
    with OrchestratorSaver(url) as saver:
        mouth.send("ready")
        mouth.recv()
        for number in range(count):
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"name": name, "number": number, "text": text_of(name, number)}
            versions: Any = dict.fromkeys(checkpoint["channel_values"], number + 1)
            checkpoint["channel_versions"] = versions
            kept = saver.put(on(thread, checkpoint_ns=""), checkpoint, {"step": number}, versions)
            saver.put_writes(kept, [("channel", text_of(name, number))], name)
            mouth.send(checkpoint["id"])


def text_of(name: str, number: int) -> str:
    return f"{name} {number} " * 50
