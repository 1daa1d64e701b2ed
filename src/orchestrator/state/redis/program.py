"""The scripts as the server is told of them."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib import resources
from typing import NamedTuple


class Program(NamedTuple):
    """A script's text and the name under which the server keeps it."""

    text: str
    sha: str


@cache
def program(name: str) -> Program:
    """Return the script of that name, with what all of them begin with (but for ``open``, which is before all)."""
    folder = resources.files("orchestrator.state.redis.scripts")
    text = folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    if name != "open":
        text = folder.joinpath("common.lua").read_text(encoding="utf-8") + text
    return Program(text, sha1(text.encode(), usedforsecurity=False).hexdigest())
