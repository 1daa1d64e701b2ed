"""The door to the HTTP library, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.errors import TaskError


def require() -> None:
    """Raise TaskError (kind ``missing_extra``) saying how to install the library, unless it is there."""
    if find_spec("httpx2") is None:
        raise TaskError(
            "the tool http needs httpx2: pip install 'durable-orchestrator[http]'",
            kind="missing_extra",
            retryable=False,
        )
