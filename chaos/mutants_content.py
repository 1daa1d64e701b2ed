"""Bugs in what reads and keeps content, to be planted in a process that is thrown away afterwards.

``MUTANTS_CONTENT`` names for each the function that plants it, what it is, and the campaign that catches it;
``caught`` plants one in a child and returns what the quick form of that campaign found.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from chaos import content, names, records, texts
from chaos.cases import Case, work
from orchestrator.compiler import load
from orchestrator.domain import ids
from orchestrator.errors import StoreDamaged
from orchestrator.state import codec, compression, exttypes
from orchestrator.state import records as sealed

QUICK = {"values": 500, "ids": 60, "records": 300, "yaml": 300}


def _set(place: Any, name: str, made: Any) -> None:
    vars(place)[name] = made


def verifies_no_checksum() -> None:
    """A record's checksum is not looked at."""
    right = sealed._checksum  # noqa: SLF001

    class Same(bytes):
        def __ne__(self, _other: object) -> bool:
            return False

        __hash__ = bytes.__hash__

    _set(sealed, "_checksum", lambda bound, payload: Same(right(bound, payload)))


def binds_to_no_owner() -> None:
    """A record's checksum does not cover whose record it is."""
    right = sealed._checksum  # noqa: SLF001
    _set(sealed, "_checksum", lambda bound, payload: right(bound[-sealed._HEAD_SIZE :], payload))  # noqa: SLF001


def unpacks_without_bound() -> None:
    """Compressed data comes out in whatever size it has."""

    def decompress(_codec: int, data: bytes, raw_length: int) -> bytes:
        zstd = compression._zstd()  # noqa: SLF001
        try:
            raw: bytes = zstd.ZstdDecompressor().decompress(data)
        except zstd.ZstdError as error:
            raise compression.CompressionError(str(error)) from error
        if len(raw) != raw_length:
            raise compression.CompressionError("another length")
        return raw

    _set(sealed, "decompress", decompress)


def tries_pickle() -> None:
    """Bytes that are no value of ours are unpickled."""
    import pickle

    right = sealed.decode_value

    def decode(payload: bytes, *, name: str) -> Any:
        try:
            return right(payload, name=name)
        except StoreDamaged:
            try:
                return pickle.loads(payload)
            except Exception:  # noqa: BLE001 - a bug, planted
                raise StoreDamaged(name, "no value") from None

    from orchestrator.state import valuecodec

    _set(valuecodec, "decode_value", decode)


def makes_tuples_lists() -> None:
    """A tuple comes back as a list."""
    right = codec._build  # noqa: SLF001
    _set(codec, "_build", lambda tag, parts: list(parts) if tag == exttypes.TUPLE else right(tag, parts))


def writes_out_what_occurs_often() -> None:
    """Nobody asks beforehand how much a value takes."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # it would fill the machine
    _set(codec, "exceeds", lambda *_: 0)


def takes_any_id() -> None:
    """An id may begin with a dot, and hold slashes."""
    import re

    _set(ids, "_ID", re.compile(r"[A-Za-z0-9_./][A-Za-z0-9._/-]{0,127}", re.ASCII))


def takes_every_file_for_utf8() -> None:
    """A pipeline file that is no UTF-8 is not told as a mistake in it."""
    _set(load, "_from_bytes", lambda text, _file: text.decode())


_PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        verifies_no_checksum, binds_to_no_owner, unpacks_without_bound, tries_pickle, makes_tuples_lists,
        writes_out_what_occurs_often, takes_any_id, takes_every_file_for_utf8,
    )
}  # fmt: skip
_CAUGHT_BY = {
    "makes_tuples_lists": "values",
    "writes_out_what_occurs_often": "values",
    "takes_any_id": "ids",
    "takes_every_file_for_utf8": "yaml",
}
MUTANTS_CONTENT: dict[str, tuple[Callable[[], None], str, str]] = {
    name: (plant, (plant.__doc__ or "").rstrip("."), _CAUGHT_BY.get(name, "records")) for name, plant in _PLANTS.items()
}
"""Name -> the function that plants it, what it is, the campaign that catches it."""


def look(name: str) -> str:
    """Plant a bug for good and return the first violation that its campaign finds, '' if none."""
    plant, _, campaign = MUTANTS_CONTENT[name]
    if campaign == "records":
        program = f"from chaos.mutants_content import {name}\n{name}()"
        return "\n".join(records.try_out(1, QUICK["records"], program=program).failures[:1])
    plant()
    cases: dict[str, Case] = {"values": content.case, "ids": names.case, "yaml": texts.case}
    if campaign == "values":
        for item, violated in content.corpus(("a bomb", "keys of all kinds")):
            if violated:
                return f"{item}: {violated}"
    return "\n".join(work(cases[campaign], range(1, QUICK[campaign] + 1), None).failures[:1])


def caught(name: str) -> str:
    """Plant a bug in a child process; return what was found."""
    done = subprocess.run(
        [sys.executable, "-c", f"from chaos.mutants_content import look\nprint(look({name!r}))"],
        cwd=records.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode > 0:
        raise RuntimeError(done.stderr)  # the bug could not be planted
    return f"the process died of signal {-done.returncode}" if done.returncode else done.stdout.strip()
