"""Everything that a child will need is imported, and used once, before it is forked."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from chaos import checks, workload
from chaos.child import EXECUTION
from chaos.ground import FILES
from orchestrator import Orchestrator


def up(store: str = "") -> None:
    """Run, resume and verify an execution; afterwards there is no thread and no connection again.

    ``store`` is the URL of one for that purpose (empty: SQLite, in a folder of its own).
    """
    with tempfile.TemporaryDirectory(prefix="chaos-warm-") as folder:
        url = store or FILES.url(Path(folder), "process")
        asyncio.run(_use(url, folder))
        asyncio.run(checks.look(Path(folder), url))
    tasks = Path("/proc/self/task")
    if tasks.is_dir() and len(list(tasks.iterdir())) > 1:
        raise RuntimeError("the server must not fork with threads")


async def _use(store: str, folder: str) -> None:
    async with Orchestrator(store=store) as runner:
        inputs = {"log": f"{folder}/effects.log", "pace": 0.0}
        await runner.run_pipeline(workload.make(), inputs, execution_id=EXECUTION)
        await runner.resume_pipeline(EXECUTION)
    workload.make("processes")
