"""What a Redis server says, in our words: which of it passes by itself, and what to do about the rest."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from orchestrator.errors import StoreDamaged, StoreFull, StoreIncompatible, StoreUnavailable
from orchestrator.state.redis.faults import code_of, is_temporary, translate

SCRIPT = "script: 0a1b, on @user_script:12."
OLD = "ERR Error running script (call to f_0a1b): @user_script:12: @user_script: 12: -"
SAID = [
    ("LOADING Redis is loading the dataset in memory", "LOADING", True, StoreUnavailable),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "BUSY", True, StoreUnavailable),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN", True, StoreUnavailable),
    ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN", True, StoreUnavailable),
    ("MASTERDOWN Link with MASTER is down", "MASTERDOWN", True, StoreUnavailable),
    ("ERR max number of clients reached", "", True, StoreUnavailable),
    ("NOSCRIPT No matching script.", "NOSCRIPT", False, StoreUnavailable),
    (f"OOM command not allowed when used memory > 'maxmemory'. {SCRIPT}", "OOM", False, StoreFull),
    (f"{OLD}OOM command not allowed when used memory > 'maxmemory'.", "OOM", False, StoreFull),
    (f"MISCONF Redis is configured to save RDB snapshots {SCRIPT}", "MISCONF", False, StoreUnavailable),
    (f"{OLD}MISCONF Redis is configured to save RDB snapshots", "MISCONF", False, StoreUnavailable),
    (f"READONLY You can't write against a read only replica. {SCRIPT}", "READONLY", False, StoreUnavailable),
    (f"{OLD}READONLY You can't write against a read only replica.", "READONLY", False, StoreUnavailable),
    ("NOPERM this user has no permissions to run the 'evalsha' command", "NOPERM", False, StoreUnavailable),
    (
        f"ERR ACL failure in script: User can't run this command or subcommand {SCRIPT}",
        "NOPERM",
        False,
        StoreUnavailable,
    ),
    ("NOAUTH Authentication required.", "NOAUTH", False, StoreUnavailable),
    ("WRONGPASS invalid username-password pair or user is disabled.", "WRONGPASS", False, StoreUnavailable),
    ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS", False, StoreUnavailable),
    ("MOVED 3999 10.0.0.7:6381", "MOVED", False, StoreUnavailable),
    (f"WRONGTYPE Operation against a key holding the wrong kind of value {SCRIPT}", "WRONGTYPE", False, StoreDamaged),
    (f"{OLD}WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE", False, StoreDamaged),
    ("ERR unknown command 'EVALSHA', with args beginning with", "", False, StoreIncompatible),
]


def error_of(said: str) -> Exception:
    """Return what the driver makes of an error's line."""
    parser: Any = BaseParser
    error: Exception = parser.parse_error(said)
    return error


@pytest.mark.parametrize(("said", "code", "temporary", "kind"), SAID, ids=[said[:40] for said, *_ in SAID])
def test_what_a_server_says(said: str, code: str, temporary: bool, kind: type[Exception]) -> None:
    error = error_of(said)
    assert (code_of(error), is_temporary(error)) == (code, temporary)
    told = translate(error, "host:6379")
    assert type(told) is kind
    assert "host:6379" in str(told)


@pytest.mark.parametrize(
    "error", [exceptions.ConnectionError("refused"), exceptions.TimeoutError(), TimeoutError(), ConnectionResetError()]
)
def test_what_breaks_on_the_way_is_tried_again(error: Exception) -> None:
    assert is_temporary(error)
    assert "check that it runs" in str(translate(error, "host:6379"))


def test_a_node_that_has_the_slot_is_named() -> None:
    assert "name 10.0.0.7:6381 in the URL" in str(translate(error_of("MOVED 3999 10.0.0.7:6381"), "h:1"))
