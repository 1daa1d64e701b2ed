"""No space left during a run: exit code 6, and once there is room the execution goes on where it was."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos import checks, workload
from chaos.child import EXECUTION, Listener
from chaos.effects import size_of
from chaos.ground import FILES
from orchestrator import NoCheckpoint, Orchestrator
from orchestrator.errors import StoreUnavailable

KIB = 1024
SIZE = 2048 * KIB
ROOM = (*range(0, 200, 20), *range(200, 600, 100))
"""KiB left free: from nothing, through the making of the store, to the big result and the last commit."""

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def go(disk: Path, logs: Path, action: str) -> int:
    """Run or resume; return the exit code, and 3 for an execution that is not there."""
    inputs = {"log": str(logs / "effects.log"), "pace": 0.0}
    try:
        async with Orchestrator(store=FILES.url(disk), listeners=[Listener(logs / "told.log")]) as runner:
            if action == "run":
                await runner.run_pipeline(workload.make(), inputs, execution_id=EXECUTION)
            else:
                await runner.resume_pipeline(EXECUTION)
    except (StoreUnavailable, NoCheckpoint) as error:
        return error.exit_code
    return 0


def fill(disk: Path, room: int) -> Path:
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room * KIB)))
    return filler


def test_a_run_that_finds_no_space_ends_with_6_and_is_resumed_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    reference: dict[str, Any] = {}
    codes = []
    for room in (SIZE // KIB, *ROOM):
        logs = tmp_path / f"logs-{room}"
        logs.mkdir()
        gc.collect()  # a connection that failed holds its removed files, and so their space, until it is collected
        for old in small_disk.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        filler = fill(small_disk, room)
        code = asyncio.run(asyncio.wait_for(go(small_disk, logs, "run"), 20))
        filler.unlink()
        assert code in (0, 6), f"with {room} KiB free it ended with {code}"
        codes.append(code)
        stages = []
        if code:
            stages = [stage(small_disk, logs, room)]
            again = asyncio.run(go(small_disk, logs, "resume"))
            if again == 3:
                again = asyncio.run(go(small_disk, logs, "run"))
            assert again == 0, f"with {room} KiB free it could not be resumed: {again}"
        for name in ("effects.log", "told.log"):
            shutil.copy(logs / name, small_disk)
        reference = reference or asyncio.run(checks.look(small_disk, FILES.url(small_disk)))
        facts = {"reference": reference, "stages": stages}
        found = asyncio.run(checks.audit(small_disk, FILES.url(small_disk), facts))
        assert not found, f"with {room} KiB free: {found}"
    assert codes.count(6) > 5, codes
    assert 0 in codes, codes


def stage(disk: Path, logs: Path, room: int) -> dict[str, Any]:
    FILES.copy(disk, room)
    shutil.move(disk / f"snapshot-{room}", logs)
    return {
        "killed": True,
        "effects": size_of(logs / "effects.log"),
        "told": size_of(logs / "told.log"),
        "snapshot": FILES.url(logs / f"snapshot-{room}", "process"),
    }
