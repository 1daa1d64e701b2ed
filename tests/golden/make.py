"""Write the golden files of the present formats: ``python -m tests.golden.make``. Done once for each format.

What is released is never written again: later versions must read it as it is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import apsw

from orchestrator import ExecutionFailed, Orchestrator
from orchestrator.cli import main as program
from orchestrator.executors import failure
from orchestrator.settings import KEYS_VARIABLE
from orchestrator.state.archive import FORMAT as EXPORT_FORMAT
from orchestrator.state.records import ENCRYPTED_FORMAT
from orchestrator.state.sqlite.connection import FORMAT
from tests.golden.content import CACHED, EXECUTION, KEY, SIGNAL, pipeline, registry

HERE = Path(__file__).parent
PRESENT = (f"format{FORMAT}", f"encrypted{ENCRYPTED_FORMAT}", f"export{EXPORT_FORMAT}")
"""A store, one whose records are encrypted, and a file of `orchestrator export`: the folders of the present formats."""


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
        await orchestrator._adapters.store.remember(EXECUTION, CACHED)
        await orchestrator._adapters.store.send(EXECUTION, SIGNAL)
        await orchestrator.state_manager.save_checkpoint("foreign", {"step": 3}, {"note": "no pipeline"})


def write_store(folder: Path) -> None:
    """Write the golden store, as files that nobody has open."""
    asyncio.run(write(folder))
    db = apsw.Connection(str(folder / "store.db"))
    db.pragma("wal_checkpoint(TRUNCATE)")
    db.pragma("journal_mode", "DELETE")
    db.close()
    shutil.rmtree(folder / "store.db-locks", ignore_errors=True)


def write_export(folder: Path) -> None:
    """Write the golden store elsewhere, and all of it into a file."""
    with tempfile.TemporaryDirectory() as name:
        write_store(Path(name))
        if program(["export", "--all", "--store", f"sqlite:///{name}/store.db", "-o", str(folder / "all.orc")]):
            raise RuntimeError("the export failed")


def main() -> int:
    """Write what is not there already."""
    missing = [folder for name in PRESENT if not (folder := HERE / name).exists()]
    if not missing:
        print(f"{', '.join(PRESENT)} exist and are never written again", file=sys.stderr)
        return 1
    # What differs from machine to machine has no place in it.
    socket.gethostname = lambda: "golden"
    vars(failure)["_trace"] = lambda _error: "Traceback: as it was\n"
    for folder in missing:
        folder.mkdir()
        os.environ.pop(KEYS_VARIABLE, None)
        if folder.name.startswith("encrypted"):
            os.environ[KEYS_VARIABLE] = KEY
        (write_export if folder.name.startswith("export") else write_store)(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
