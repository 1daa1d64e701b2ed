"""What an error of the driver or the server means: told by its SQLSTATE, never by its text."""

from __future__ import annotations

from enum import Enum

import psycopg

from orchestrator.errors import StoreError, StoreFull, StoreIncompatible, StoreUnavailable


class Verdict(Enum):
    """What to do after an error."""

    RECONNECT = "the connection is gone, and whether the statement was carried out is unknown"
    REPEAT = "nothing was done, and the same again may succeed"
    FAIL = "the same again would fail the same way"


_RECONNECT = {
    "25P03",  # idle_in_transaction_session_timeout
    "40003",  # statement_completion_unknown
    "53300",  # too_many_connections
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
}
_REPEAT = {
    "23503",  # a value was collected as garbage while we referred to it: it is stored once more
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available: lock_timeout
}


def judge(error: BaseException) -> Verdict:
    """Say what to do after an error of the driver or of the network."""
    if not isinstance(error, psycopg.Error):
        return Verdict.RECONNECT  # OSError, TimeoutError
    state = error.sqlstate
    if state is None:
        lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return Verdict.RECONNECT if lost else Verdict.FAIL
    if state.startswith("08") or state in _RECONNECT:
        return Verdict.RECONNECT
    return Verdict.REPEAT if state in _REPEAT else Verdict.FAIL


_MEANINGS: dict[str, tuple[type[StoreError], str]] = {
    "53100": (StoreFull, "the server of {url} has no space left ({text}); make room, then resume"),
    "53200": (StoreUnavailable, "the server of {url} has no memory left: {text}"),
    "53300": (
        StoreUnavailable,
        (
            "the server of {url} takes no more connections: {text}. Raise its max_connections, or put a pooler "
            "(pgbouncer) before it"
        ),
    ),
    "25006": (
        StoreUnavailable,
        (
            "the server of {url} is read-only: {text}. It is a standby, or default_transaction_read_only is on: name "
            "the primary, for example by several hosts and target_session_attrs=read-write in the URL"
        ),
    ),
    "57014": (
        StoreUnavailable,
        (
            "the server of {url} did not answer within the statement timeout: {text}. It is overloaded, or somebody "
            "holds a lock"
        ),
    ),
    "42501": (
        StoreUnavailable,
        "the user of {url} lacks a permission: {text}. docs/configuration.md lists what to GRANT",
    ),
    "42": (StoreIncompatible, "the schema of {url} is not what this version expects: {text}"),
    "3F": (StoreIncompatible, "the schema of {url} is not what this version expects: {text}"),
    "28": (StoreUnavailable, "the server of {url} refuses us: {text}. Check user and password of the URL"),
    "3D": (StoreUnavailable, "the server of {url} refuses us: {text}. Check the database of the URL"),
    "40": (StoreUnavailable, "the store {url} was too busy, again and again: {text}"),
    "55": (StoreUnavailable, "the store {url} was too busy, again and again: {text}"),
    "XX": (
        StoreUnavailable,
        "the server of {url} reports damage or a failure of its own: {text}. See its log; verify it with pg_amcheck",
    ),
}
"""By SQLSTATE, or by its class."""

_UNREACHED = (
    "the store {url} cannot be reached: {text}. Check that the server runs, host, port, database, user and password of "
    "the URL, and the server's pg_hba.conf"
)


def translate(error: BaseException, url: str) -> StoreError:
    """Return our error for one of the driver's, with what to do; ``url`` names the store."""
    text = " ".join(str(error).split()) or type(error).__name__
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is None:
        return StoreUnavailable(_UNREACHED.format(url=url, text=text))
    otherwise = (StoreUnavailable, f"the store {{url}} failed ({state}): {{text}}")
    kind, message = _MEANINGS.get(state) or _MEANINGS.get(state[:2]) or otherwise
    return kind(message.format(url=url, text=text))
