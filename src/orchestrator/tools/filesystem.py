"""Files and folders of the project.

Every path is relative to the project folder, or absolute inside it (or inside an allowed folder); what leads outside
is refused. What an action writes appears whole or not at all, and every action may be repeated after a crash: an
attempt that finds its work done by an earlier attempt says so and goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from typing import TYPE_CHECKING, Annotated, Any, Literal

from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.tools.appending import append_once
from orchestrator.tools.atomic import replacing, write_all
from orchestrator.tools.copying import copy_file
from orchestrator.tools.decorator import tool
from orchestrator.tools.fileerrors import kind_of, missing, os_refused, refused
from orchestrator.tools.listing import entries
from orchestrator.tools.looking import tell_read, tell_written
from orchestrator.tools.paths import Sandbox

if TYPE_CHECKING:
    from orchestrator.tools.paths import Place

MEGABYTE = 1_000_000

PathText = Annotated[str, "a path inside the project folder"]
Encoding = Annotated[str, "how text is encoded in the file"]


@tool("filesystem", action="read")
def read(
    path: PathText,
    *,
    context: TaskContext,
    format: Annotated[Literal["text", "lines", "json", "bytes"], "what `content` is"] = "text",  # noqa: A002
    encoding: Encoding = "utf-8",
    errors: Annotated[Literal["strict", "replace", "ignore"], "what to do about bytes that are no text"] = "strict",
    max_bytes: Annotated[int, "refuse a larger file: its content becomes part of the journal"] = 10 * MEGABYTE,
) -> dict[str, Any]:
    """Read a file: `{path, content, size, sha256}`.

    Line ends stay as they are; a byte order mark is kept too (use the encoding `utf-8-sig` to drop it).
    """
    with Sandbox(context.project).place(path) as place:
        descriptor = place.open(os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            size = about.st_size
            data = file.read(max_bytes + 1) if size <= max_bytes else b""
        if size > max_bytes or len(data) > max_bytes:
            raise TaskError(
                f"{place.path!r} has {max(size, len(data)):,} bytes, more than the {max_bytes:,} that `max_bytes` "
                "allows into the journal; hand tables to the tool data-processing, or raise max_bytes",
                kind="too_large",
                retryable=False,
            )
        sha256 = hashlib.sha256(data).hexdigest()
        tell_read(context, place, about, sha256)
        content = _decoded(data, place.path, format, encoding, errors)
        return {"path": place.path, "content": content, "size": len(data), "sha256": sha256}


@tool("filesystem", action="write")
def write(
    path: PathText,
    content: Annotated[Any, "text, bytes, or anything else to be written as JSON"],
    *,
    context: TaskContext,
    encoding: Encoding = "utf-8",
    overwrite: Annotated[bool, "false: refuse if the file exists with another content"] = True,
) -> dict[str, Any]:
    """Write a file as a whole, making its folders: `{path, size, sha256}`.

    Text and bytes are written as they are, any other value as indented JSON. Readers see the old content or the new
    one, never a part of it.
    """
    data = _encoded(content, encoding)
    with Sandbox(context.project).place(path, create=True, change=True) as place:
        found = place.stat()
        if found is not None and not overwrite and not _has(place, data):
            raise _exists(place.path)
        with replacing(place, context) as (descriptor, _):
            write_all(descriptor, data)
            about = os.fstat(descriptor)
        sha256 = hashlib.sha256(data).hexdigest()
        tell_written(context, place, about, sha256)
        return {"path": place.path, "size": len(data), "sha256": sha256}


@tool("filesystem", action="append")
def append(
    path: PathText,
    content: Annotated[Any, "text, bytes, or anything else to be written as one line of JSON"],
    *,
    context: TaskContext,
    encoding: Encoding = "utf-8",
    newline: Annotated[bool, "end the addition with a line feed if it has none"] = False,
) -> dict[str, Any]:
    """Add to the end of a file, which is made if need be: `{path, offset, size}` of the addition.

    A task appends once, however often it is tried: before it writes, it notes down where it is about to (in
    `.orchestrator/data/EXECUTION/appends`), and a later attempt that finds its addition there leaves it, and
    completes a torn one. Steps that append to one file at the same time follow one another.
    """
    text = content if isinstance(content, (str, bytes)) else json.dumps(content, ensure_ascii=False)
    data = _encoded(text, encoding)
    if newline and not data.endswith(b"\n"):
        data += b"\n"
    sandbox = Sandbox(context.project)
    with sandbox.place(path, create=True, change=True) as place:
        context.writes(place.full)
        offset = append_once(sandbox, place, data, context)
        return {"path": place.path, "offset": offset, "size": len(data)}


@tool("filesystem", action="copy")
def copy(
    source: PathText,
    destination: Annotated[str, "the path of the copy (of the file itself, not of a folder)"],
    *,
    context: TaskContext,
    overwrite: Annotated[bool, "false: refuse if the destination exists with another content"] = True,
) -> dict[str, Any]:
    """Copy a file: `{path, size, sha256}` of the copy.

    A large file is copied in parts and its progress saved, so that a later attempt goes on where this one ended, as
    long as the source has not changed.
    """
    sandbox = Sandbox(context.project)
    with sandbox.place(source) as origin, sandbox.place(destination, create=True, change=True) as place:
        _same_file(origin, place)
        copied = copy_file(origin, place, context, overwrite=overwrite)
        tell_read(context, origin, copied.source, copied.sha256)
        tell_written(context, place, copied.target, copied.sha256)
        return {"path": place.path, "size": copied.size, "sha256": copied.sha256}


@tool("filesystem", action="move")
def move(
    source: PathText,
    destination: Annotated[str, "the new path (of the file or folder itself)"],
    *,
    context: TaskContext,
    overwrite: Annotated[bool, "false: refuse if the destination exists"] = True,
) -> dict[str, Any]:
    """Move or rename a file or folder: `{path}`, the new one.

    Between two file systems a file is copied and then removed; a folder cannot be moved that way. A later attempt
    that finds the source gone and the destination there takes it as moved.
    """
    sandbox = Sandbox(context.project)
    with (
        sandbox.place(source, follow=False, change=True) as origin,
        sandbox.place(destination, follow=False, create=True, change=True) as place,
    ):
        context.writes(origin.full)
        context.writes(place.full)
        here, there = origin.stat(), place.stat()
        if here is None:
            if there is not None and context.attempt > 1:
                return {"path": place.path}
            raise missing(origin.path, "file or folder")
        if there is not None and not overwrite:
            raise _exists(place.path)
        _same_file(origin, place)
        _rename(origin, place, here, context)
        return {"path": place.path}


@tool("filesystem", action="delete")
def delete(
    path: PathText,
    *,
    context: TaskContext,
    recursive: Annotated[bool, "also a folder, with everything in it"] = False,
    missing_ok: Annotated[bool, "nothing there is fine too"] = False,
) -> dict[str, Any]:
    """Delete a file, a symlink (not what it points to), or a folder with `recursive`: `{path}`.

    A later attempt that finds nothing takes it as deleted.
    """
    with Sandbox(context.project).place(path, follow=False, change=True) as place:
        context.writes(place.full)
        found = place.stat()
        if found is None:
            if missing_ok or context.attempt > 1:
                return {"path": place.path}
            raise missing(place.path, "file or folder")
        try:
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(place.name, dir_fd=place.folder)
            elif recursive:
                shutil.rmtree(place.name, dir_fd=place.folder)
            else:
                raise refused(f"{place.path!r} is a folder; `recursive: true` deletes it with everything in it")
            os.fsync(place.folder)
        except OSError as error:
            raise os_refused(place.path, error) from error
        return {"path": place.path}


@tool("filesystem", action="list")
def list_(
    path: PathText = ".",
    *,
    context: TaskContext,
    pattern: Annotated[str, "`*.csv`, or with `/` and `**` matched against the path below the folder"] = "*",
    recursive: Annotated[bool, "look into the folders below as well"] = False,
    hidden: Annotated[bool, "also names that begin with a dot"] = False,
    limit: Annotated[int, "refuse to return more entries than this"] = 10_000,
) -> dict[str, Any]:
    """List a folder: `{path, count, entries}`, each entry `{path, name, type, size}`, sorted by path.

    `type` is `file`, `folder`, `link` or `other`; `size` is in bytes (0 for what is not a file). Symlinks are listed
    and not followed. A pattern with `**` looks into folders by itself.
    """
    with Sandbox(context.project).folder(path) as place:
        found = entries(place, pattern, recursive=recursive or "**" in pattern, hidden=hidden, limit=limit)
        return {"path": place.path, "count": len(found), "entries": found}


@tool("filesystem", action="exists")
def exists(path: PathText, *, context: TaskContext) -> dict[str, Any]:
    """Tell whether there is something at a path: `{path, exists, type, size}`.

    `type` is `file`, `folder`, `other` or None. A symlink is followed.
    """
    try:
        with Sandbox(context.project).place(path) as place:
            found = place.stat() if place.name != "." else os.fstat(place.folder)
            shown = place.path
    except TaskError as error:
        if error.kind != "not_found":
            raise
        found, shown = None, path
    if found is None:
        return {"path": shown, "exists": False, "type": None, "size": 0}
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}.get(stat.S_IFMT(found.st_mode), "other")
    return {"path": shown, "exists": True, "type": kind, "size": found.st_size if kind == "file" else 0}


def _decoded(data: bytes, path: str, format: str, encoding: str, errors: str) -> Any:  # noqa: A002
    if format == "bytes":
        return data
    try:
        text = data.decode(encoding, errors)
        if format == "json":
            return json.loads(text)
    except (UnicodeDecodeError, LookupError) as error:
        raise TaskError(
            f"{path!r} is not text in {encoding}: {error}; name another encoding, or read `format: bytes`",
            kind="encoding",
            retryable=False,
        ) from error
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path!r} is not JSON: {error}", kind="json", retryable=False) from error
    return text.splitlines() if format == "lines" else text


def _encoded(content: Any, encoding: str) -> bytes:
    if isinstance(content, bytes):
        return content
    try:
        if not isinstance(content, str):
            content = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        data: bytes = content.encode(encoding)
    except (UnicodeEncodeError, LookupError) as error:
        raise TaskError(
            f"the content cannot be written in {encoding}: {error}", kind="encoding", retryable=False
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise TaskError(
            f"the content is neither text nor bytes, and not JSON either: {error}", kind="json", retryable=False
        ) from error
    return data


def _has(place: Place, data: bytes) -> bool:
    descriptor = place.open(os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return os.fstat(descriptor).st_size == len(data) and file.read() == data


def _exists(path: str) -> TaskError:
    return TaskError(f"{path!r} exists already; `overwrite: true` replaces it", kind="exists", retryable=False)


def _same_file(origin: Place, place: Place) -> None:
    here, there = origin.stat(), place.stat()
    if here is not None and there is not None and os.path.samestat(here, there):
        raise refused(f"{origin.path!r} and {place.path!r} are the same file")


def _rename(origin: Place, place: Place, found: os.stat_result, context: TaskContext) -> None:
    there = place.stat()
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise refused(f"{place.path!r} is a folder; name the new path itself, like {place.path + '/' + origin.name!r}")
    try:
        os.rename(origin.name, place.name, src_dir_fd=origin.folder, dst_dir_fd=place.folder)
    except OSError as error:
        if error.errno != 18:  # noqa: PLR2004 - EXDEV: another file system
            raise os_refused(f"{origin.path} -> {place.path}", error) from error
        if not stat.S_ISREG(found.st_mode):
            raise refused(
                f"{origin.path!r} is {kind_of(found.st_mode)}: only files move between file systems"
            ) from error
        copy_file(origin, place, context, overwrite=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(origin.name, dir_fd=origin.folder)
    os.fsync(place.folder)
    os.fsync(origin.folder)
