"""Write the golden store of the present format: ``python -m tests.golden.make``. Done once for each format.

A store that is released is never written again: later versions must read it as it is.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from pathlib import Path

import apsw

from orchestrator import ExecutionFailed, Orchestrator
from orchestrator.executors import failure
from orchestrator.state.sqlite.connection import FORMAT
from tests.golden.content import EXECUTION, pipeline, registry

HERE = Path(__file__).parent


async def write(folder: Path) -> None:
    """Run the golden pipeline, resume it once, and keep a manual checkpoint and a foreign state."""
    tools = registry()
    made = pipeline(tools)
    async with Orchestrator(store=f"sqlite:///{folder}/store.db", tools=tools) as orchestrator:
        for attempt in range(2):
            try:
                if attempt:
                    await orchestrator.resume_pipeline(EXECUTION)
                else:
                    await orchestrator.run_pipeline(made.definition, {"who": "Ada"}, execution_id=EXECUTION)
            except ExecutionFailed:
                continue
        await orchestrator.resume_manager.create_resume_checkpoint(EXECUTION, made.definition, context={"user": "ada"})
        await orchestrator.resume_manager.create_resume_checkpoint(
            "by-hand",
            made.definition,
            completed_tasks={"values"},
            task_results={"values": "by hand"},
            context={"who": "Bo"},
            failed_tasks={"flaky": 2},
        )
        await orchestrator.state_manager.save_checkpoint("foreign", {"step": 3}, {"note": "no pipeline"})


def main() -> int:
    """Write it, unless it is there already."""
    folder = HERE / f"format{FORMAT}"
    if folder.exists():
        print(f"{folder} exists and is never written again", file=sys.stderr)
        return 1
    folder.mkdir()
    # What differs from machine to machine has no place in it.
    socket.gethostname = lambda: "golden"
    vars(failure)["_trace"] = lambda _error: "Traceback: as it was\n"
    asyncio.run(write(folder))
    db = apsw.Connection(str(folder / "store.db"))
    db.pragma("wal_checkpoint(TRUNCATE)")
    db.pragma("journal_mode", "DELETE")
    db.close()
    shutil.rmtree(folder / "store.db-locks", ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
