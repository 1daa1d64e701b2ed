"""Identities: one validator for every id, wherever it comes from."""

from __future__ import annotations

import re
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
ID_RULE = "letters, digits, '_', '-' and '.', starting with a letter, digit or '_', at most 128 characters"


def is_valid_id(text: str) -> bool:
    """Tell whether ``text`` may name a pipeline, a task or an execution (see ``ID_RULE``)."""
    return _ID.fullmatch(text) is not None


def execution_id(text: str) -> ExecutionId:
    """Return ``text`` as an execution id; raise UsageError if it breaks ``ID_RULE``."""
    if not is_valid_id(text):
        raise UsageError(f"not an execution id: {text!r} (an id is {ID_RULE})")
    return ExecutionId(text)


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
    if not (is_valid_id(execution) and seq.isascii() and seq.isdigit() and int(seq) > 0):
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
