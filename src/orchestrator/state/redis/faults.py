"""The driver's errors in our words, once, at the edge; and which of them pass by themselves."""

from __future__ import annotations

import re

from redis import exceptions

from orchestrator.errors import StoreDamaged, StoreError, StoreFull, StoreIncompatible, StoreUnavailable

TEMPORARY = frozenset({"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "ASK"})
_CODE = re.compile(r"^-?([A-Z]{2,})\b")
# Redis before 7 wraps what happened inside a script; later ones say a denied command in words of their own.
_WRAPPED = re.compile(r"-(OOM|MISCONF|READONLY|NOPERM|WRONGTYPE|BUSY|NOREPLICAS)\b")
_DENIED = re.compile(r"can't (run this command|access at least one)", re.IGNORECASE)
_REMEDIES = {
    "NOAUTH": "it wants a password: give user and password in the URL",
    "WRONGPASS": "it does not know this user or password: correct them in the URL",
    "NOPERM": "the user lacks rights there: see the list of commands and keys in docs/configuration.md",
    "READONLY": "it is a replica, which cannot be written: name the primary in the URL",
    "MISCONF": "it cannot write its own files (a full disk, most of the time): mend that, then resume",
    "NOREPLICAS": "it has fewer replicas than it demands (min-replicas-to-write): bring them back, then resume",
    "LOADING": "it is still loading its data: resume when it is up",
    "BUSY": "a script has been running on it for long: end that with SCRIPT KILL, then resume",
    "CLUSTERDOWN": "its cluster is down: bring that up, then resume",
    "MASTERDOWN": "it is a replica whose primary is down: name the primary in the URL",
}


def code_of(error: BaseException) -> str:
    """Return the word by which the server names an error; empty for one that is not the server's."""
    if not isinstance(error, exceptions.RedisError):
        return ""
    text = str(error)
    wrapped = _WRAPPED.search(text)
    if wrapped:
        return wrapped[1]
    code = getattr(error, "status_code", None)
    if isinstance(code, str) and code != "ERR":
        return code
    if _DENIED.search(text):
        return "NOPERM"
    found = _CODE.match(text)
    return found[1] if found else ""


def is_temporary(error: BaseException) -> bool:
    """Tell whether the same request may succeed soon: the connection broke, or the server is not up yet."""
    if isinstance(error, exceptions.AuthenticationError):
        return False
    if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError, TimeoutError)):
        return True
    return code_of(error) in TEMPORARY


def translate(error: BaseException, place: str) -> StoreError:
    """Return our error for one of the driver's; ``place`` is the server's host and port."""
    code = code_of(error)
    if code == "OOM":
        return StoreFull(
            f"no memory left on the Redis server {place}: raise its maxmemory or prune executions, then resume"
        )
    if code == "WRONGTYPE":
        return StoreDamaged(f"Redis server {place}", "one of the store's keys holds something else than it should")
    if code == "MOVED":
        node = str(error).rsplit(" ", maxsplit=1)[-1]
        return StoreUnavailable(f"the store is on another node of the cluster than {place}: name {node} in the URL")
    if code in _REMEDIES:
        return StoreUnavailable(f"the Redis server {place} says {code}: {_REMEDIES[code]}")
    if isinstance(error, exceptions.ResponseError):
        if "unknown command" in str(error).lower():
            return StoreIncompatible(f"the Redis server {place} is too old or no Redis: {error}")
        return StoreUnavailable(f"the Redis server {place} refused: {error}")
    what = str(error) or type(error).__name__
    return StoreUnavailable(
        f"the Redis server {place} cannot be reached ({what}): check that it runs, the host and port in the URL, and "
        "the network between; what was acknowledged is kept, resume when it is back"
    )
