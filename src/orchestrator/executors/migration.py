"""What makes the saved state of a step's present definition out of that of an earlier one."""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools import python

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ports.executor import Attempt

MIGRATE = "migrate"
"""The kind of an attempt whose saved state could not be made into one of the present definition."""


def migrated(attempt: Attempt, snapshot: Callable[[Any], Any]) -> Any:
    """Return the saved state to begin with: as it is, or what the step's ``migrate`` function makes of it.

    The function is called as ``function(old=saved)``, with ``kind="saved"`` besides if it takes that. It is found by
    the `python` tool's rules. Raise TaskError (kind ``migrate``) for whatever goes wrong with it.
    """
    if attempt.saved is None or attempt.migrate is None:
        return attempt.saved
    try:
        function = python.find(attempt.migrate).function
        kind = {"kind": "saved"} if _takes_kind(function) else {}
        made = function(old=snapshot(attempt.saved), **kind)
        if isinstance(made, CoroutineType):
            made.close()
            raise TypeError("it is async, and has to be a plain function")
        return None if made is None else snapshot(made)
    except (Exception, SystemExit) as error:
        what = error.message if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
        raise TaskError(
            f"migrate: {attempt.migrate!r} could not make a saved state for the changed step of the old one: {what}",
            kind=MIGRATE,
            retryable=False,
        ) from error


def _takes_kind(function: Callable[..., Any]) -> bool:
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a C function does not tell
        return False
    return any(each.name == "kind" or each.kind is each.VAR_KEYWORD for each in parameters)
