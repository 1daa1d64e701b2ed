"""Archives: pack files into zip and tar, look into them, and unpack them without trusting them.

The same files give the same bytes: names are sorted, times and owners left out. What is unpacked stays in its folder;
an archive with absolute or climbing paths, links or devices, or out of which more comes than the limits allow, is
refused before anything is written.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Annotated, Any

from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.tools.archives import formats, packing, reading, unpacking
from orchestrator.tools.archives.formats import Format
from orchestrator.tools.atomic import replacing, sha256_of
from orchestrator.tools.decorator import tool
from orchestrator.tools.looking import tell_read, tell_written
from orchestrator.tools.paths import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.tools.paths import Place

ArchivePath = Annotated[str, "the archive, inside the project folder"]
MaxFiles = Annotated[int, "refuse an archive of more members"]
MaxBytes = Annotated[int, "refuse an archive out of which more bytes come"]
MaxRatio = Annotated[int, "refuse one out of which so many times its own size comes (not below 16 MiB)"]


@tool("archive", action="pack")
def pack(
    paths: Annotated[str | list[str], "files, folders with all in them, and patterns like `out/**/*.csv`"],
    output: Annotated[str, "the archive to make"],
    *,
    context: TaskContext,
    base: Annotated[str, "the folder that the names in the archive begin in"] = ".",
    format: Annotated[Format | None, "the format; without, the ending of `output` tells it"] = None,  # noqa: A002
    hidden: Annotated[bool, "also what begins with a dot, in folders that are packed"] = False,
) -> dict[str, Any]:
    """Pack files into an archive: `{path, format, count, size, sha256}`; `size` is that of the archive.

    Links to files are packed as the files they point to; empty folders are left out. That a file may be executed is
    kept, other permissions, times and owners are not.
    """
    kind = format or formats.by_name(output)
    sandbox = Sandbox(context.project)
    with sandbox.folder(base) as folder, sandbox.place(output, create=True, change=True) as place:
        wanted = [paths] if isinstance(paths, str) else paths
        chosen = packing.sources(sandbox, wanted, folder.full, place, hidden=hidden)
        if not chosen:
            raise TaskError("there is no file to pack", kind="not_found")
        with replacing(place, context) as (descriptor, _):
            packed = packing.pack(descriptor, kind, chosen, sandbox, context)
            about = os.fstat(descriptor)
            sha256 = sha256_of(descriptor, context)
        tell_written(context, place, about, sha256)
        return {
            "path": place.path,
            "format": kind,
            "count": packed.files,
            "size": about.st_size,
            "sha256": sha256,
        }


@tool("archive", action="unpack")
def unpack(
    path: ArchivePath,
    folder: Annotated[str, "where to put what is in it; made if need be"],
    *,
    context: TaskContext,
    overwrite: Annotated[bool, "false: refuse if a file exists with another content"] = True,
    max_files: MaxFiles = 10_000,
    max_bytes: MaxBytes = 1_000_000_000,
    max_ratio: MaxRatio = 200,
) -> dict[str, Any]:
    """Unpack an archive into a folder: `{path, count, size, files}`; `files` are the paths, in the archive's order.

    The format is told by the content. Every member is looked at before the first is unpacked; each file appears whole
    or not at all, with the time of now. What the folder holds besides stays.
    """
    sandbox = Sandbox(context.project)
    limits = reading.Limits(max_files, max_bytes, max_ratio)
    with _open(sandbox, path, context) as (file, place):
        found = unpacking.unpack(file, place.path, folder, sandbox, limits, context, overwrite=overwrite)
    with sandbox.folder(folder) as target:
        return {"path": target.path, "count": len(found.files), "size": found.size, "files": found.files}


@tool("archive", action="list")
def list_(
    path: ArchivePath,
    *,
    context: TaskContext,
    max_files: MaxFiles = 10_000,
    max_bytes: MaxBytes = 1_000_000_000,
    max_ratio: MaxRatio = 200,
) -> dict[str, Any]:
    """List what is in an archive: `{path, format, count, entries}`, each entry `{path, type, size}`.

    `type` is `file`, `folder`, `link` or `other`. Names are told as they stand there, also those that `unpack` refuses.
    """
    limits = reading.Limits(max_files, max_bytes, max_ratio)
    with _open(Sandbox(context.project), path, context) as (file, place):
        with reading.opened(file, place.path, limits, context) as (kind, members):
            entries = [
                {"path": member.name.encode("utf-8", "replace").decode(), "type": member.kind, "size": member.size}
                for member in members
            ]
        return {"path": place.path, "format": kind, "count": len(entries), "entries": entries}


@contextmanager
def _open(sandbox: Sandbox, path: str, context: TaskContext) -> Iterator[tuple[IO[bytes], Place]]:
    """Open an archive, and tell that it was read once all went well."""
    with sandbox.place(path) as place, os.fdopen(place.open(os.O_RDONLY), "rb") as file:
        about = os.fstat(file.fileno())
        yield file, place
        tell_read(context, place, about, sha256_of(file.fileno(), context))
