"""Approvals: a person is asked, and answers with a choice or a form.

The step takes no slot, and the process may end meanwhile. Who answered, when, and with what comment is the result, and
on record. Nothing before the step is run again, unless it is sent back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.domain.waits import APPROVAL, SEND_BACK, Wait
from orchestrator.domain.words import did_you_mean
from orchestrator.ports.tools import Problem
from orchestrator.tools.decorator import tool
from orchestrator.tools.waiting import problems_of, refuse, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHOICES = ("approve", "reject")
MAX_CHOICE = 100


def _check(parameters: Mapping[str, Any], is_template: Callable[[Any], bool]) -> list[Problem]:
    """Tell what the types alone do not."""
    found: list[Problem] = []
    choices = parameters.get("choices")
    written = isinstance(choices, list) and not any(map(is_template, choices))
    if isinstance(choices, list) and written:
        found += _check_choices(choices, "send_back" in parameters)
    if "default" in parameters and "timeout" not in parameters:
        found.append(Problem("default is what counts once the timeout is over", ("default",), "add a timeout"))
    default, offered = parameters.get("default"), choices if written else CHOICES
    if (
        "default" in parameters
        and not is_template(default)
        and (written or (choices is None and parameters.get("form") is None))
        and default not in (offered or ())
    ):
        found.append(
            Problem("it is none of the choices", ("default",), did_you_mean(str(default), map(str, offered or ())))
        )
    return found + problems_of(parameters, is_template, {"timeout": seconds}, "form")


def _check_choices(choices: Sequence[Any], sends_back: bool) -> list[Problem]:  # noqa: FBT001
    if not choices:
        return [Problem("there is nothing to choose from", ("choices",))]
    found = []
    for index, choice in enumerate(choices):
        place = ("choices", index)
        if not isinstance(choice, str):
            continue  # told already
        if not 0 < len(choice) <= MAX_CHOICE or not choice.isprintable():
            found.append(Problem(f"a choice has 1 to {MAX_CHOICE} printable characters", place))
        elif choice in choices[:index]:
            found.append(Problem(f"the choice {choice!r} is there twice", place))
        elif choice == SEND_BACK and sends_back:
            found.append(Problem(f"{SEND_BACK!r} is offered already, by send_back", place))
    return found


@tool("approval", check=_check)
def approval(
    question: Annotated[str, "what is asked"],
    *,
    choices: Annotated[
        list[str] | None, "what may be chosen; `approve` and `reject` if there is no form either"
    ] = None,
    form: Annotated[dict[str, Any] | None, "JSON Schema (2020-12) of what is to be filled in"] = None,
    timeout: Annotated[int | float | str | None, "how long to wait; without, for ever"] = None,
    default: Annotated[
        Any, "the choice (or, without choices, the form) once the timeout is over; without, the step fails"
    ] = None,
    send_back: Annotated[str | list[str] | None, "earlier steps that it may be sent back to, with a comment"] = None,
) -> Any:
    """Ask a person: `{choice, form, comment, by, at, timed_out}`; who answers does so with `orchestrator approve`.

    A rejection does not fail the step: what follows decides by `condition`, like `review.result.choice == 'approve'`.
    `send_back` offers one more choice: the step it names and all after it run again, and the approval is asked anew;
    the step reads the comment as `execution.sent_back.comment`.
    """
    given = {
        "question": question, "choices": choices, "form": form, "timeout": timeout, "send_back": send_back,
        "default": default,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    refuse(_check(given, lambda _: False))
    steps = [send_back] if isinstance(send_back, str) else send_back or []
    offered = tuple(choices) if choices is not None else () if form is not None else CHOICES
    return Wait(
        APPROVAL,
        question=question,
        choices=offered,
        schema=form,
        seconds=None if timeout is None else seconds(timeout),
        has_default=default is not None,
        default=default,
        send_back=tuple(steps),
    )
