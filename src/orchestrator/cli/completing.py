"""Completion of what only the store knows: executions, steps, checkpoints. Silent where it cannot know."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import common_of, run_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import click
    from click.shell_completion import CompletionItem

    from orchestrator.orchestrator import Orchestrator

LIMIT = 200
Candidates = list[tuple[str, str]]


def _ask(context: click.Context, question: Callable[[Orchestrator], Awaitable[Candidates]], begun: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    async def ask() -> Candidates:
        async with common_of(context).reading() as orchestrator:
            return await question(orchestrator)

    with contextlib.suppress(Exception):
        if common_of(context).has_store():
            found = run_async(ask())
            return [CompletionItem(name, help=note) for name, note in found if name.startswith(begun)]
    return []


def _execution(context: click.Context) -> str:
    """Return the execution that the line names; an option cut off in the middle leaves it among the loose words."""
    named: str | None = context.params.get("execution")
    return (named if named is not None else context.args[0]).partition("@")[0]


def complete_execution(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return execution ids, newest first."""

    async def question(orchestrator: Orchestrator) -> Candidates:
        found = await orchestrator.list_executions(limit=LIMIT)
        return [(each.execution_id, f"{each.pipeline_id}, {each.status.value}") for each in found]

    return _ask(context, question, begun)


def complete_steps(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the steps of the execution that the command line names."""

    async def question(orchestrator: Orchestrator) -> Candidates:
        state = await orchestrator.get_state(_execution(context))
        return [(name, task.status.value) for name, task in state.tasks.items()]

    return _ask(context, question, begun)


def complete_waiting(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the steps of the execution that the line names that ask for an approval."""

    async def question(orchestrator: Orchestrator) -> Candidates:
        found = await orchestrator.pending_approvals(_execution(context))
        return [(each.step, each.text) for each in found]

    return _ask(context, question, begun)


def complete_choice(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the choices of the step that the line names."""

    async def question(orchestrator: Orchestrator) -> Candidates:
        found = await orchestrator.pending_approvals(_execution(context))
        return [(choice, "") for each in found if each.step == context.params.get("step") for choice in each.choices]

    return _ask(context, question, begun)


def complete_signal(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the signals that steps of the execution wait for that the line names."""

    async def question(orchestrator: Orchestrator) -> Candidates:
        found = await orchestrator.pending_waits(_execution(context))
        return [(each.name, each.step) for each in found if each.kind == "signal"]

    return _ask(context, question, begun)


def complete_place(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the steps of the execution that the command line names, and its checkpoints, newest first."""

    async def question(orchestrator: Orchestrator) -> Candidates:
        found = await orchestrator.state_manager.list_checkpoints(_execution(context), LIMIT)
        return [(each["checkpoint_id"], each["reason"]) for each in found]

    return complete_steps(context, parameter, begun) + _ask(context, question, begun)


def complete_position(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return execution ids, newest first; once one is there with its @, its checkpoints."""
    execution, at, _seq = begun.partition("@")
    if not at:
        return complete_execution(context, parameter, begun)

    async def question(orchestrator: Orchestrator) -> Candidates:
        found = await orchestrator.state_manager.list_checkpoints(execution, LIMIT)
        return [(each["checkpoint_id"], each["reason"]) for each in found]

    return _ask(context, question, begun)


def complete_tool(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the names of the tools."""
    from click.shell_completion import CompletionItem

    with contextlib.suppress(Exception):
        names: list[str] = common_of(context).orchestrator().tools.names()  # type: ignore[attr-defined]
        return [CompletionItem(name) for name in names if name.startswith(begun)]
    return []
