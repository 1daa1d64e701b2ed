from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services_s3 import bucket, s3_server

__all__ = ["bucket", "quick_path", "s3_server"]

MEMORY = Path("/dev/shm")


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one: for tests to which it is all the same what a disk does."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="orchestrator-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
