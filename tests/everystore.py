"""One URL for each kind of store; to add a kind is to add a line, and a fixture that knows of an empty one."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

STORES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "memory": lambda _request: f"memory://{uuid.uuid4().hex}",
    "sqlite": lambda request: f"sqlite:///{request.getfixturevalue('quick_path')}/store.db",
    "postgres": lambda request: request.getfixturevalue("postgres_emptied_url"),
    "redis": lambda request: request.getfixturevalue("redis_place").url,
}
NEAR = ["memory", "sqlite"]
"""Those without a server: for what is the same on all, and would take long there."""
SHARED = [name for name in STORES if name != "memory"]
"""Those that several processes can use."""
