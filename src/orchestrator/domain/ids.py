"""Identities: one validator for every id, wherever it comes from."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NewType, TypeAlias

from orchestrator.errors import UsageError

TaskId: TypeAlias = str
"""A task's id. Plain text to type checkers too: people write task ids in their programs."""
ExecutionId = NewType("ExecutionId", str)
Seq = NewType("Seq", int)
"""Number of a fact in its execution's journal, from 1; 0 is the empty journal."""
Epoch = NewType("Epoch", int)
"""Number of an execution's ownership, from 1; it grows with each owner (fencing token)."""

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_EXECUTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~-]{0,127}", re.ASCII)
_UNFIT = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_NUMBERED = re.compile(r"\.[0-9]+\Z", re.ASCII)
_LONGEST = 128
CHILD = "~"
"""Stands in the id of an execution that a step of another one started, and in no id that people choose."""
ID_RULE = "letters, digits, '_', '-' and '.', starting with a letter, digit or '_', at most 128 characters"


def is_valid_id(text: str) -> bool:
    """Tell whether ``text`` may name a pipeline, a task or an execution (see ``ID_RULE``)."""
    return _ID.fullmatch(text) is not None


def is_execution_id(text: str) -> bool:
    """Tell whether ``text`` may name an execution: a valid id, or one that ``child_id`` made."""
    return _EXECUTION.fullmatch(text) is not None


def execution_id(text: str) -> ExecutionId:
    """Return ``text`` as the id of an execution; raise UsageError if it cannot be one."""
    if not is_execution_id(text):
        raise UsageError(f"not an execution id: {text!r} (an id is {ID_RULE})")
    return ExecutionId(text)


def chosen_id(text: str) -> ExecutionId:
    """Return ``text`` as the id of a new execution; raise UsageError if it breaks ``ID_RULE``."""
    if not is_valid_id(text):
        reserved = f"; {CHILD!r} is kept for executions that steps start" if is_execution_id(text) else ""
        raise UsageError(f"not an execution id: {text!r} (an id is {ID_RULE}{reserved})")
    return ExecutionId(text)


def child_id(parent: str, task: str, generation: int) -> ExecutionId:
    """Name the execution that a step starts: always the same one for the same step and generation.

    It is ``PARENT~TASK``, with the generation behind it from the second on; a digest stands for what is too long.

    >>> child_id("exec_1", "clean", 1), child_id("exec_1", "clean", 2), child_id("exec_1", "page[a/b]", 1)
    ('exec_1~clean', 'exec_1~clean.2', 'exec_1~page-a-b--c5882625db1e')
    """
    number = f".{generation}" if generation > 1 or _NUMBERED.search(task) else ""
    plain = _UNFIT.sub("-", task)
    text = f"{parent}{CHILD}{plain}{number}"
    if plain == task and len(text) <= _LONGEST:
        return ExecutionId(text)
    mark = f"-{blake2b(f'{parent}/{task}'.encode(), digest_size=6).hexdigest()}{number}"
    room = _LONGEST - len(parent) - len(CHILD) - len(mark)
    if room > 0:
        return ExecutionId(f"{parent}{CHILD}{plain[:room]}{mark}")
    return ExecutionId(f"{parent[: _LONGEST - len(mark) - 2]}{CHILD}{CHILD}{mark[1:]}")


def parent_of(execution: str) -> str | None:
    """Return the execution that a child's id begins with; None if it is no child, or its id was too long to say so."""
    parent, mark, _ = execution.rpartition(CHILD)
    return parent if mark and not parent.endswith(CHILD) else None


def checkpoint_id(execution: str, seq: int) -> str:
    """Name the position ``seq`` of an execution: ``EXECUTION@SEQ``."""
    return f"{execution}@{seq}"


def is_checkpoint_id(text: str) -> bool:
    """Tell whether a text names a position rather than an execution.

    >>> is_checkpoint_id("exec_1@17"), is_checkpoint_id("exec_1")
    (True, False)
    """
    return "@" in text


def parse_checkpoint_id(text: str) -> tuple[ExecutionId, Seq]:
    """Split ``EXECUTION@SEQ``; raise UsageError if it is not of that form."""
    execution, _, seq = text.rpartition("@")
    if not (is_execution_id(execution) and seq.isascii() and seq.isdigit() and int(seq) > 0):
        raise UsageError(f"not a checkpoint: {text!r} (expected EXECUTION@SEQ, as `orchestrator checkpoints` prints)")
    return ExecutionId(execution), Seq(int(seq))


def parse_position(text: str) -> tuple[ExecutionId, Seq | None]:
    """Split ``EXECUTION`` or ``EXECUTION@SEQ``; without a seq the end is meant. Raises UsageError."""
    return parse_checkpoint_id(text) if is_checkpoint_id(text) else (execution_id(text), None)


def idempotency_key(execution: str, task: str, life: int = 0) -> str:
    """Name one task of one execution, the same for every attempt; handed to every tool.

    ``life`` is how often what the task did has been undone: what is done again after that is another thing.
    """
    return f"{execution}/{task}~{life}" if life else f"{execution}/{task}"
