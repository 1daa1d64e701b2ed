"""Unpacking: member by member, each as a whole or not at all, and nothing outside the folder."""

from __future__ import annotations

import hashlib
import os
import re
from typing import IO, TYPE_CHECKING, NamedTuple

from orchestrator.errors import TaskError
from orchestrator.tools.archives.formats import damaged
from orchestrator.tools.archives.reading import CHUNK, Limits, opened
from orchestrator.tools.atomic import replacing, sha256_of, write_all
from orchestrator.tools.fileerrors import cancelled, refused
from orchestrator.tools.looking import tell_written

if TYPE_CHECKING:
    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.archives.reading import Member
    from orchestrator.tools.paths import Place, Sandbox

_DRIVE = re.compile(r"[A-Za-z]:")


class Unpacked(NamedTuple):
    """What came out of an archive: the paths of the files in its order, and their bytes together."""

    files: list[str]
    size: int


def check(file: IO[bytes], path: str, limits: Limits, context: TaskContext) -> int:
    """Look at every member before any is unpacked, and return how many files there are.

    Raise TaskError (kind ``archive``) for a name that leads outside or occurs twice, for links, devices and the
    like, for damage, and (kind ``too_large``) for more than the limits.
    """
    kinds: dict[str, str] = {}
    with opened(file, path, limits, context) as (_, members):
        for member in members:
            name = _safe(member, path)
            if name in kinds and (kinds[name], member.kind) != ("folder", "folder"):
                raise damaged(path, f"it holds {name!r} twice")
            kinds[name] = member.kind
    for name in kinds:
        above = name.rpartition("/")[0]
        while above:
            if kinds.get(above) == "file":
                raise damaged(path, f"it holds {above!r} as a file and as a folder")
            above = above.rpartition("/")[0]
    return sum(kind == "file" for kind in kinds.values())


def unpack(
    file: IO[bytes], path: str, folder: str, sandbox: Sandbox, limits: Limits, context: TaskContext, *, overwrite: bool
) -> Unpacked:
    """Unpack an archive that was checked into a folder of the project."""
    total = check(file, path, limits, context)
    files, size = [], 0
    with sandbox.place(f"{folder}/x", create=True, change=True) as place:
        root = place.full.parent
    with opened(file, path, limits, context) as (_, members):
        for member in members:
            name = _safe(member, path)
            below = name if member.kind == "file" else f"{name}/x"  # the folder of a name is made, the name is not
            with sandbox.place(f"{folder}/{below}", follow=False, create=True, change=True) as place:
                if not place.full.is_relative_to(root):
                    raise refused(f"{folder}/{name}: a link in the folder leads out of it")
                if member.kind == "file":
                    _extract(member, place, context, overwrite=overwrite)
                    files.append(place.path)
                    size += member.size
                    context.progress(len(files), total, "unpacked")
    return Unpacked(files, size)


def _extract(member: Member, place: Place, context: TaskContext, *, overwrite: bool) -> None:
    hasher = hashlib.sha256()
    left = member.size
    with replacing(place, context) as (descriptor, _):
        with member.open() as content:
            while data := content.read(min(CHUNK, left + 1)):
                left -= len(data)
                if context.cancelled:
                    raise cancelled("unpacking")
                if left < 0:
                    break
                hasher.update(data)
                write_all(descriptor, data)
        if left:
            raise damaged(place.path, "it is damaged: the member has not the size that it says")
        if member.executable:
            mode = os.fstat(descriptor).st_mode & 0o777
            os.fchmod(descriptor, mode | (mode >> 2 & 0o111))  # whoever may read may run
        if not overwrite and place.stat() is not None:
            _same(place, hasher.hexdigest(), context)
        about = os.fstat(descriptor)
    tell_written(context, place, about, hasher.hexdigest())


def _same(place: Place, sha256: str, context: TaskContext) -> None:
    descriptor = place.open(os.O_RDONLY)
    try:
        if sha256_of(descriptor, context) != sha256:
            raise TaskError(
                f"{place.path!r} exists already with another content; `overwrite: true` replaces it",
                kind="exists",
                retryable=False,
            )
    finally:
        os.close(descriptor)


def _safe(member: Member, path: str) -> str:
    """Return a member's name as a path below the folder; raise TaskError for what no harmless archive holds."""
    name = member.name
    if member.kind not in ("file", "folder"):
        what = "a link" if member.kind == "link" else "neither a file nor a folder"
        raise damaged(path, f"its member {name!r} is {what}")
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise damaged(path, f"its member {name!r} has an absolute path")
    if "\\" in name or "\0" in name:
        raise damaged(path, f"its member {name!r} has a name that means different things on different systems")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise damaged(path, f"its member {name!r} leads outside the folder")
    if not parts and member.kind == "file":
        raise damaged(path, "one of its files has no name")
    return "/".join(parts) or "."
