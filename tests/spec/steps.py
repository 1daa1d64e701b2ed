"""The functions that the spec page's pipelines call: they leave a trace, and fail or die where a test wants it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from orchestrator import Orchestrator, TaskContext

EFFECTS = Path("effects.log")


def work(context: TaskContext, value: Any = None) -> dict[str, Any]:
    """Return ``value`` as output. ``STEP.fails`` holds how often the step fails, ``STEP.kills`` how often it dies."""
    with EFFECTS.open("a", encoding="utf-8") as effects:
        effects.write(f"{context.task_id}\n")
    if _due(Path(f"{context.task_id}.fails")):
        raise RuntimeError(f"{context.task_id} is out of luck")
    if _due(Path(f"{context.task_id}.kills")):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"output": value}


def loop(context: TaskContext, rounds: int) -> list[int]:
    """Count to ``rounds``, saving each round; ``STEP.kills`` is the round in which the process dies."""
    done: list[int] = context.saved or []
    deadly = Path(f"{context.task_id}.kills")
    for number in range(len(done), rounds):
        with EFFECTS.open("a", encoding="utf-8") as effects:
            effects.write(f"{context.task_id}:{number}\n")
        if deadly.exists() and number == int(deadly.read_text()):
            deadly.unlink()
            while not asyncio.run(_is_kept(context)):
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(number)
        context.save(done)
        context.progress(number + 1, rounds)
    return done


async def _is_kept(context: TaskContext) -> bool:
    """Tell whether the store has a saved state of the step, as another process would see it."""
    async with Orchestrator() as other:
        state = await other.get_state(context.execution_id)
    return state.tasks[context.task_id].saved is not None


def effects() -> list[str]:
    """Return the steps that were executed in this folder, in order."""
    return EFFECTS.read_text(encoding="utf-8").split() if EFFECTS.exists() else []


def _due(file: Path) -> bool:
    """Take one from the number in ``file``; tell whether there was one."""
    if not file.exists():
        return False
    left = int(file.read_text())
    if left > 0:
        file.write_text(str(left - 1))
    return left > 0
