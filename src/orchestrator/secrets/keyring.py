"""The system's keyring (extra ``keyring``), imported only when a name was found nowhere else."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import UsageError

SERVICE = "orchestrator"
"""The service under which secrets lie in the keyring."""
MISSING_EXTRA = "the keyring cannot be asked: pip install 'durable-orchestrator[keyring]'"


def get(name: str) -> tuple[str | None, str]:
    """Return a secret (None: it is not there), and why the keyring could not be asked, or nothing."""
    module = _module()
    if module is None:
        return None, "no keyring (the extra 'keyring' is not installed)"
    try:
        value = module.get_password(SERVICE, name)
    except Exception as error:  # noqa: BLE001 - each backend has errors of its own
        return None, f"no keyring that answers ({type(error).__name__})"
    return (value if isinstance(value, str) else None), ""


def is_installed() -> bool:
    """Tell whether the extra is there; whether a backend answers, only asking it tells."""
    return _module() is not None


def put(name: str, value: str) -> None:
    """Keep a secret in the keyring; raises UsageError if it cannot."""
    module = _module()
    if module is None:
        raise UsageError(MISSING_EXTRA)
    try:
        module.set_password(SERVICE, name, value)
    except Exception as error:  # noqa: BLE001 - each backend has errors of its own
        raise UsageError(f"the keyring keeps nothing: {type(error).__name__}") from None


def _module() -> Any:
    try:
        import keyring
    except ImportError:
        return None
    return keyring
