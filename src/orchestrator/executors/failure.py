"""What an exception of a tool becomes in the journal."""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.domain.events import ErrorInfo
from orchestrator.errors import LeaseLost, TaskError
from orchestrator.observe.lines import cut
from orchestrator.ports.executor import Cancelled, Failed

if TYPE_CHECKING:
    from types import TracebackType

MESSAGE_BYTES = 4096
TRACE_BYTES = 8192
TRACE_FRAMES = 20
_CAUSES = 5
_OWN = str(Path(__file__).parent)

TIMEOUT = "timeout"
"""The kind of an attempt that took longer than its step allows."""

_WORDS = {TimeoutError: TIMEOUT, ConnectionError: "connection"}
"""What retry filters may call an exception of Python's own by: the same as for the shipped tools."""


def outcome_of(error: BaseException, execution_id: str) -> Failed | Cancelled:
    """Turn what a tool raised into an outcome; nothing that a tool raises ends the orchestrator.

    LeaseLost of the attempt's own execution says nothing about the task, so it is no failure: Cancelled.
    """
    if isinstance(error, LeaseLost) and error.execution_id == execution_id:
        return Cancelled()
    return Failed(describe(error), _kinds(error), _retry_after(error))


def _kinds(error: BaseException) -> tuple[str, ...]:
    """Name what an error is besides its kind: what it says, its classes, and the shipped tools' word for it.

    Classes up to Exception: a filter for OSError means FileNotFoundError, too; one for ``timeout`` any TimeoutError.
    """
    said = tuple(map(str, error.kinds)) if isinstance(error, TaskError) else ()
    ends = (Exception, BaseException, object)
    classes = tuple(base.__name__ for base in type(error).__mro__ if base not in ends)
    words = tuple(word for kind, word in _WORDS.items() if isinstance(error, kind))
    return said + classes + words


def _retry_after(error: BaseException) -> float | None:
    wait: Any = error.retry_after if isinstance(error, TaskError) else None
    if isinstance(wait, (int, float)) and not isinstance(wait, bool) and 0 < wait < math.inf:
        return float(wait)
    return None


def timed_out(seconds: float) -> Failed:
    """Return the outcome of an attempt whose time is over."""
    return Failed(ErrorInfo(TIMEOUT, f"no result after {seconds:g} s, the step's timeout"))


def describe(error: BaseException) -> ErrorInfo:
    """Describe an exception in at most about 12 KiB: kind, message, the last frames of the tool's own code."""
    name = type(error).__name__
    message = cut(_text(error), MESSAGE_BYTES)
    if isinstance(error, TaskError):
        return ErrorInfo(error.kind, message or name, error.retryable, _trace(error))
    if isinstance(error, SystemExit):
        message = f"the task called sys.exit({cut(repr(error.code), 200)})"
    elif not isinstance(error, Exception):
        message = f"the task raised {name} without being asked to end{': ' if message else ''}{message}"
    return ErrorInfo(name, message or name, retryable=True, trace=_trace(error))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001 - a broken __str__ must not hide the failure itself
        return f"<its text cannot be told: {type(second).__name__}>"


def _trace(error: BaseException) -> str:
    frames = list(traceback.walk_tb(_without_own(error.__traceback__)))
    lines = [f"  ... {len(frames) - TRACE_FRAMES} frames before\n"] if len(frames) > TRACE_FRAMES else []
    # A list of 20 extracted frames cannot trigger format_list's folding of endless recursion as a whole stack would.
    lines += traceback.format_list(traceback.StackSummary.extract(iter(frames[-TRACE_FRAMES:])))
    lines.append(_line(error))
    if isinstance(error, BaseExceptionGroup):
        lines += [f"  with {_line(item)}" for item in error.exceptions[:TRACE_FRAMES]]
    cause = _cause(error)
    for _ in range(_CAUSES):
        if cause is None:
            break
        lines.append(f"caused by {_line(cause)}")
        cause = _cause(cause)
    text = "".join(lines).rstrip()
    raw = text.encode("utf-8", "backslashreplace")
    return text if len(raw) <= TRACE_BYTES else "... " + raw[4 - TRACE_BYTES :].decode("utf-8", "ignore")


def _without_own(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN):
        trace = trace.tb_next
    return trace


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {cut(_text(error), 500)}\n"
