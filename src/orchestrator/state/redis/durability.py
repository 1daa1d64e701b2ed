"""What a Redis server keeps when it dies, found out before anything is trusted to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.state.redis.address import Address

POLICY = "noeviction"


@dataclass(frozen=True, slots=True)
class Promise:
    """What an acknowledged commit survives, in words; ``wait``: it is asked for after each commit (WAITAOF).

    ``can_wait`` tells that one commit may ask for it where the others do not.
    """

    text: str
    wait: bool
    can_wait: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a server says of itself. A setting is None where it may not be asked (managed servers forbid CONFIG).

    ``always_syncs`` False: while it rewrites its log it does without fsync, whatever ``fsync`` says.
    """

    role: str
    policy: str
    aof: bool
    fsync: str | None
    always_syncs: bool | None
    waitaof: bool


def look(info: Mapping[str, str], config: Mapping[str, str] | None, *, waitaof: bool) -> Found:
    """Take INFO and CONFIG GET apart; ``config`` None: it was forbidden. ``waitaof``: the server took that command."""
    asked = config or {}
    rewrite = asked.get("no-appendfsync-on-rewrite")
    return Found(
        role=info.get("role", "master"),
        policy=info.get("maxmemory_policy", "") or asked.get("maxmemory-policy", ""),
        aof=info.get("aof_enabled") == "1",
        fsync=asked.get("appendfsync"),
        always_syncs=None if rewrite is None else rewrite == "no",
        waitaof=waitaof,
    )


def judge(found: Found, address: Address) -> Promise:
    """Return what the server promises; raises StoreUnavailable if that is less than the address asks for."""
    where = f"the Redis server {address.place}"
    accept = "or say in the URL that its loss is acceptable: accept_data_loss=true"
    if found.role not in ("master", "primary"):
        raise StoreUnavailable(f"{where} is a replica, which cannot be written: name the primary in the URL")
    if found.policy != POLICY and not address.accept_data_loss:
        raise StoreUnavailable(
            f"{where} may throw away what it holds when its memory is full (maxmemory-policy "
            f"{found.policy or 'unknown'}): CONFIG SET maxmemory-policy {POLICY}, {accept}"
        )
    can_wait = found.aof and found.waitaof
    if not found.aof:
        if not address.accept_data_loss:
            raise StoreUnavailable(
                f"{where} keeps nothing when it dies (appendonly no): set appendonly yes and appendfsync always, "
                + accept
            )
        return Promise("nothing: the server keeps no log (appendonly no)", wait=False, can_wait=False)
    if found.fsync == "always" and found.always_syncs is not False:
        return Promise("process and power loss of the server (appendfsync always)", wait=False, can_wait=can_wait)
    if address.full and can_wait:
        return Promise("process and power loss of the server (WAITAOF after each commit)", wait=True, can_wait=True)
    if address.full and not address.accept_data_loss:
        raise StoreUnavailable(_too_weak(found, where))
    return _weak(found, can_wait=can_wait)


def _too_weak(found: Found, where: str) -> str:
    remedy = "set appendfsync always (CONFIG SET appendfsync always), or take what it gives: durability=process"
    if found.fsync is None:
        return f"{where} does not let its settings be read, so nobody knows what it keeps: allow CONFIG GET, {remedy}"
    if found.fsync == "always":
        remedy = "set no-appendfsync-on-rewrite no, or take what it gives: durability=process"
        return f"{where} does without fsync while it rewrites its log (no-appendfsync-on-rewrite yes): {remedy}"
    return f"{where} may lose the last second when the power fails (appendfsync {found.fsync}): {remedy}"


def _weak(found: Found, *, can_wait: bool) -> Promise:
    if found.fsync is None:
        text = "process loss of the server; its setting appendfsync may not be read, so power loss is unknown"
    elif found.fsync == "no":
        text = "process loss of the server; a power loss takes what its system has not written (appendfsync no)"
    else:
        text = f"process loss of the server; a power loss may take the last second (appendfsync {found.fsync})"
    return Promise(text, wait=False, can_wait=can_wait)
