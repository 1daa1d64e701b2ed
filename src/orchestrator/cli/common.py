"""What the commands share: options, the store they mean, their examples, and how they are run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.errors import UnknownExecution

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from orchestrator.orchestrator import Orchestrator
    from orchestrator.settings import Settings


@dataclass(slots=True)
class Common:
    """What every command was told, before or after its name."""

    store: str | None = None
    debug: bool = False

    def settings(self) -> Settings:
        """Return the settings that hold."""
        from orchestrator.settings import load_settings

        return load_settings(store=self.store)

    def store_file(self) -> Path | None:
        """Return the file of the store, made yet or not; None if it is none."""
        from orchestrator.state.url import store_file

        settings = self.settings()
        return store_file(settings.store, project=settings.project)

    def log_folder(self) -> Path:
        """Return the folder of the steps' logs."""
        return self.orchestrator().log_folder

    def has_store(self) -> bool:
        """Tell whether there is a store yet: looking must not make one."""
        file = self.store_file()
        return file is None or file.exists()

    def orchestrator(self, **options: Any) -> Orchestrator:
        """Return an orchestrator for the store."""
        from orchestrator.orchestrator import Orchestrator

        return Orchestrator(self.store, **options)

    def reading(self, execution_id: str | None = None) -> Orchestrator:
        """Return an orchestrator to look at what is there; raise UnknownExecution if there is no store yet."""
        if execution_id is not None:
            from orchestrator.domain.ids import execution_id as valid_execution_id

            valid_execution_id(execution_id)
            if not self.has_store():
                raise UnknownExecution(execution_id)
        return self.orchestrator()


def common_of(context: click.Context) -> Common:
    """Return what this call was told; one object for the group and its command."""
    return context.find_root().ensure_object(Common)


def _keep_store(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        common_of(context).store = value


def _keep_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not common_of(context).debug:
        common_of(context).debug = True
        if not context.resilient_parsing:
            _log_to_stderr()


def _log_to_stderr() -> None:
    import logging

    from orchestrator.observe.redacting import REDACTING

    class Clean(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return output.clean(super().format(record))

    handler = logging.StreamHandler()
    handler.addFilter(REDACTING)
    handler.setFormatter(Clean("%(levelname).1s %(name)s: %(message)s"))
    logging.raiseExceptions = False
    logger = logging.getLogger("orchestrator")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def common_options() -> list[click.Parameter]:
    """Return the options that stand before or after every command's name."""
    return [
        click.Option(
            ["--store"],
            metavar="URL",
            expose_value=False,
            callback=_keep_store,
            help="The store: a URL or a name (else ORCHESTRATOR_STORE, orchestrator.toml, .orchestrator/store.db).",
        ),
        click.Option(
            ["-v", "--debug"],
            is_flag=True,
            expose_value=False,
            callback=_keep_debug,
            help="Log on stderr what is decided and why; show tracebacks.",
        ),
    ]


class Command(click.Command):
    """A command with examples in its help, and the options all commands share."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.extend(common_options())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write the examples into a help page."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"  {example}\n")


def pass_common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand a command what it was told, as its first argument, and run it on a loop of its own if it is async."""
    import functools
    import inspect

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = function(common_of(click.get_current_context()), *args, **kwargs)
        return run_async(result) if inspect.iscoroutine(result) else result

    return wrapper


def run_async(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a command's coroutine to its end."""
    import asyncio

    return asyncio.run(coroutine)
