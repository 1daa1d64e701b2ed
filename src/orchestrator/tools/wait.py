"""Waits: for a while, until a time, or for a signal that somebody sends.

A step that waits takes no slot, and the process may end meanwhile. When it is over was decided when it began, and is
on record: whoever resumes it days later does not wait anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypedDict, Unpack

from orchestrator.domain.waits import SIGNAL, TIME, Wait
from orchestrator.ports.tools import Problem
from orchestrator.tools.decorator import tool
from orchestrator.tools.waiting import moment, problems_of, refuse, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_NAME = 200

# In this form, since `for` is a word of Python's.
WaitOptions = TypedDict(
    "WaitOptions",
    {
        "for": Annotated[int | float | str, "how long: seconds, or a text like `90s`, `10m`, `2h`, `1d`"],
        "until": Annotated[str, "until when: a time with its zone, like `2026-03-01T08:00:00+01:00`"],
        "signal": Annotated[str, "the name of the signal that ends it (`orchestrator signal EXECUTION NAME`)"],
        "schema": Annotated[dict[str, Any], "JSON Schema (2020-12) of the signal's payload"],
        "timeout": Annotated[int | float | str, "how long to wait for the signal; without, for ever"],
        "default": Annotated[Any, "the payload once the timeout is over; without, the step fails (kind `timeout`)"],
    },
    total=False,
)
_WAYS = ("for", "until", "signal")


def _signal_name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise ValueError(f"not the name of a signal: 1 to {MAX_NAME} printable characters")
    return value


def _check(parameters: Mapping[str, Any], is_template: Callable[[Any], bool]) -> list[Problem]:
    """Tell what the types alone do not."""
    ways = [name for name in _WAYS if name in parameters]
    found: list[Problem] = []
    if len(ways) != 1:
        what = f"{' and '.join(ways)} exclude each other" if ways else "it waits for nothing"
        found.append(Problem(what, (ways[1],) if ways else (), f"give one of {', '.join(_WAYS)}"))
    elif ways != ["signal"]:
        found += [
            Problem(f"{name} goes with signal", (name,))
            for name in ("schema", "timeout", "default")
            if name in parameters
        ]
    if "default" in parameters and "timeout" not in parameters and ways == ["signal"]:
        found.append(Problem("default is what counts once the timeout is over", ("default",), "add a timeout"))
    readers = {"for": seconds, "until": moment, "timeout": seconds, "signal": _signal_name}
    return found + problems_of(parameters, is_template, readers, "schema")


@tool("wait", check=_check)
def wait(**options: Unpack[WaitOptions]) -> Any:
    """Wait for a while (`for`), until a time (`until`), or for a signal (`signal`): exactly one of the three.

    For a signal the result is `{payload, by, at, timed_out}`: what was sent, by whom and when; else it is
    `{at, timed_out}`. A signal that came before the step began is taken; several of a name are taken in their order.
    A payload that does not fit the `schema` is refused, and the step goes on waiting.
    """
    refuse(_check(options, lambda _: False))
    if "signal" in options:
        limit = options.get("timeout")
        return Wait(
            SIGNAL,
            signal=options["signal"],
            seconds=None if limit is None else seconds(limit),
            schema=options.get("schema"),
            has_default="default" in options,
            default=options.get("default"),
        )
    if "until" in options:
        return Wait(TIME, until=moment(options["until"]))
    return Wait(TIME, seconds=seconds(options["for"]))
