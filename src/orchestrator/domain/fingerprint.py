"""The fingerprint: what makes a recorded result one that may be used again.

It is everything that a step's outcome can depend on: whether its condition holds, tool and action, the tool's version
and the code of the function, the rendered parameters (what a step reads of the results before it is in them), the files
read, and the execution's inputs where the tool looks at them by itself. Names, descriptions, comments, the order of
keys, retries, timeouts, isolation and resume settings are not part of it.

Its parts are compared one by one, so that a plan can say which of them differ.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.files import FileSeen
from orchestrator.domain.tasks import Call, Prior, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.domain.pipeline import Task


class Component(NamedTuple):
    """A part of a fingerprint that differs: what it was when the result was recorded, and what it is now."""

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        """Say it in a few words.

        >>> str(Component("parameters.threshold", "0.4", "0.5"))
        'parameters.threshold: 0.4 → 0.5'
        """
        return f"{self.name}: {self.before} → {self.now}" if self.before or self.now else self.name


class Given(NamedTuple):
    """What a task would be given now, where that had to be worked out.

    ``runs`` is the truth of its condition. ``changes`` are the parts of its parameters that are not as recorded.
    ``fault`` says why it could not be worked out, if so.
    """

    runs: bool = True
    changes: tuple[Component, ...] = ()
    fault: str = ""


class Present(NamedTuple):
    """What is so just now about one task: what its call means, what it would be given, its files, its schema.

    ``call`` None: it is not known. ``given`` None: nothing that could change it has changed. ``file`` (for those read)
    and ``written`` return a file as it is now, None for one that is not to be compared. ``schema_fault`` says how the
    recorded result breaks a new schema.
    """

    call: Call | None = None
    given: Given | None = None
    file: Callable[[str], FileSeen | None] = lambda _path: None
    written: Callable[[str], FileSeen | None] = lambda _path: None
    schema_fault: str = ""


def weigh(prior: Prior, old: Task, new: Task, present: Present, *, stale: bool = False) -> list[Component]:
    """Return what makes a recorded result unfit for ``new``; empty means that it may be used again.

    ``old`` is the task as it was when the result was recorded. ``stale``: the execution's inputs were other ones.
    """
    found: list[Component] = []
    given = present.given
    if given is not None:
        if given.fault:
            return [Component("what it is given", "as recorded", given.fault)]
        if given.runs is (prior.status is TaskStatus.SKIPPED):
            return [Component("condition", _truth(not given.runs), _truth(given.runs))]
    if prior.status is TaskStatus.SKIPPED:
        return found  # nothing but its condition decided
    found += _text_changes(old, new)
    same_call = old.tool == new.tool and old.action == new.action
    if given is not None:
        found += given.changes
    if same_call and prior.call is not None and present.call is not None and prior.call is not present.call:
        found += call_changes(prior.call, present.call)
    if prior.trace is not None:
        found += _files(prior, present)
        if prior.trace.inputs and stale:
            found.append(Component("inputs, which it looks at by itself", "", ""))
    if present.schema_fault:
        found.append(Component("output_schema", "satisfied", present.schema_fault))
    return found


def _text_changes(old: Task, new: Task) -> list[Component]:
    if old is new:
        return []
    found = []
    if old.tool != new.tool:
        found.append(Component("tool", old.tool, new.tool))
    if old.action != new.action:
        found.append(Component("action", old.action or "the default", new.action or "the default"))
    if old.files.reads != new.files.reads:
        found.append(Component("files.reads", ", ".join(old.files.reads), ", ".join(new.files.reads)))
    return found


def call_changes(before: Call, now: Call) -> list[Component]:
    """Return in what two meanings of a call differ: the version, and each function or constant by name."""
    found = []
    if before.version != now.version:
        found.append(Component("tool version", before.version, now.version))
    for name in sorted(before.code.keys() | now.code.keys()):
        old, new = before.code.get(name), now.code.get(name)
        if old != new:
            found.append(Component(f"code of {name}", old[:8] if old else "none", new[:8] if new else "none"))
    return found


def _files(prior: Prior, present: Present) -> list[Component]:
    found: list[Component] = []
    trace = prior.trace
    if trace is None:
        return found
    for kind, look, seen in (("file", present.file, trace.reads), ("output file", present.written, trace.writes)):
        for before in seen:
            now = look(before.path)
            if now is not None and not before.same(now):
                found.append(Component(f"{kind} {before.path}", _file(before), _file(now)))
    return found


def _file(seen: FileSeen) -> str:
    return f"{seen.size:,} B {seen.digest[:8]}" if seen.there else "missing"


def _truth(value: bool) -> str:  # noqa: FBT001 - said, not switched
    return "true" if value else "false"


def canonical(value: Any) -> Any:
    """Return parameters with the keys of their mappings in order: in which order they were written says nothing.

    >>> canonical({"b": 1, "a": [{"d": 1, "c": 2}]})
    {'a': [{'c': 2, 'd': 1}], 'b': 1}
    """
    kind = type(value)
    if kind is dict:
        items = value.items()
        if len(value) > 1 and all(type(key) is str for key in value):
            items = sorted(items)
        return {key: canonical(item) for key, item in items}
    if kind is list:
        return [canonical(item) for item in value]
    return value


def cache_key(parts: Sequence[str | bytes]) -> bytes:
    """Return the fingerprint under which a result is kept for other executions: 32 bytes.

    Every part counts, and where it ends.
    """
    digest = blake2b(digest_size=32)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def files_of(priors: Mapping[Any, Prior | None]) -> dict[str, tuple[int, FileSeen]]:
    """Return what the execution wrote last at each path: the fact's number, and the file as it was then."""
    latest: dict[str, tuple[int, FileSeen]] = {}
    for prior in priors.values():
        if prior is None or prior.trace is None:
            continue
        for seen in prior.trace.writes:
            if seen.path not in latest or latest[seen.path][0] <= prior.seq:
                latest[seen.path] = prior.seq, seen
    return latest
