"""The same faults one level lower: between this process and libc, by a preloaded library (Linux, with a C compiler)."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.files import Fault

if TYPE_CHECKING:
    from typing import Any

SOURCE = Path(__file__).with_name("libc.c")
PREFIX = "libc:"
"""How the order for such a fault begins: ``libc:eio:37``."""
KINDS = ("count", *Fault.KINDS)
"""In the order of the enumeration in libc.c."""


@cache
def library() -> Path | None:
    """Build the library once for this process; None where there is no compiler for it."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not Path("/proc/self/fd").is_dir():
        return None
    target = Path(tempfile.mkdtemp(prefix="chaos-libc-")) / "libc.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"{SOURCE.name} cannot be built: {built.stderr}")
    return target


class LibcFault:
    """A fault that this process, into which the library was preloaded, meets from now on; see ``chaos.files.Fault``."""

    def __init__(self, order: str, store: Path) -> None:
        kind, _, number = order.removeprefix(PREFIX).partition(":")
        self._library: Any = ctypes.CDLL(None)
        self._library.chaos_arm(str(store).encode(), KINDS.index(kind), int(number))

    @property
    def seen(self) -> int:
        """How many calls were counted."""
        return int(self._library.chaos_seen())

    @property
    def fired(self) -> bool:
        """Whether the fault struck."""
        return bool(self._library.chaos_fired())
