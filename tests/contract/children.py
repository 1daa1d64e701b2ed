"""Processes that own an execution of a SQLite store, for tests that kill or stop them.

python children.py STORE own NAME          create the execution, say "owned", then append at each line read
python children.py STORE open              wait for a line, then open the store and create an execution
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.errors import LeaseLost, OrchestratorError
from orchestrator.state.sqlite import SqliteStore
from orchestrator.testing.stores.facts import add, admit


def say(word: str) -> None:
    print(word, flush=True)


async def own(store: SqliteStore, name: str) -> None:
    lease = await admit(store, name)
    say("owned")
    seq = 1
    for _ in sys.stdin:
        seq = await add(store, lease, seq)
        say(f"appended {seq}")


def main() -> None:
    path, act, *rest = sys.argv[1:]
    if act == "open":
        say("ready")
        sys.stdin.readline()
    store = SqliteStore(Path(path), clock=SystemClock(), chance=SystemChance())
    if act == "open":
        asyncio.run(admit(store, f"of-{os.getpid()}"))
        say("created")
    else:
        asyncio.run(own(store, *rest))


if __name__ == "__main__":
    try:
        main()
    except (LeaseLost, OrchestratorError) as error:
        say(type(error).__name__)
        sys.exit(error.exit_code)
