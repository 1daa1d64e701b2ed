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


def translate(error: BaseException, url: str) -> StoreError:
    """Return our error for one of the driver's, with what to do; ``url`` names the store."""
    if isinstance(error, StoreError):
        return error
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    text = " ".join(str(error).split()) or type(error).__name__
    match state:
        case None:
            return StoreUnavailable(
                f"the store {url} cannot be reached: {text}. Check that the server runs, host, port, database, user "
                "and password of the URL, and the server's pg_hba.conf"
            )
        case "53100":
            return StoreFull(f"the server of {url} has no space left ({text}); make room, then resume")
        case "53200":
            return StoreUnavailable(f"the server of {url} has no memory left: {text}")
        case "53300":
            return StoreUnavailable(
                f"the server of {url} takes no more connections: {text}. Raise its max_connections, or put a pooler "
                "(pgbouncer) before it"
            )
        case "25006":
            return StoreUnavailable(
                f"the server of {url} is read-only: {text}. It is a standby, or default_transaction_read_only is on: "
                "name the primary, for example by several hosts and target_session_attrs=read-write in the URL"
            )
        case "57014":
            return StoreUnavailable(
                f"the server of {url} did not answer within the statement timeout: {text}. It is overloaded, or "
                "somebody holds a lock"
            )
        case "42501":
            return StoreUnavailable(
                f"the user of {url} lacks a permission: {text}. docs/configuration.md lists what to GRANT"
            )
        case "42P01" | "42703" | "3F000" | "42883":
            return StoreIncompatible(f"the schema of {url} is not what this version expects: {text}")
    if state.startswith(("28", "3D")):
        return StoreUnavailable(f"the server of {url} refuses us: {text}. Check user, password and database of the URL")
    if state.startswith("40") or state in _REPEAT:
        return StoreUnavailable(f"the store {url} was too busy, again and again: {text}")
    if state.startswith("XX"):
        return StoreUnavailable(
            f"the server of {url} reports damage or a failure of its own: {text}. See its log; verify with pg_amcheck"
        )
    return StoreUnavailable(f"the store {url} failed ({state}): {text}")
