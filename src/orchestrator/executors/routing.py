"""One executor for all attempts: each goes where its step asks to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.pipeline import PIPELINE, Isolation

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ports.executor import Attempt, Executor, Reporter


class RoutingExecutor:
    """Sends attempts of the tool ``pipeline`` to ``children``, those with ``isolation: process`` to processes.

    All others go to ``local``. ``process_factory`` is called when the first attempt needs a process. ``close`` closes
    all three.
    """

    def __init__(self, local: Executor, process_factory: Callable[[], Executor], children: Executor) -> None:
        self._local = local
        self._process_factory = process_factory
        self._process: Executor | None = None
        self._children = children

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt where its step asks to run."""
        if attempt.tool == PIPELINE:
            self._children.start(attempt, reporter)
            return
        if attempt.isolation is Isolation.NONE:
            self._local.start(attempt, reporter)
            return
        if self._process is None:
            self._process = self._process_factory()
        self._process.start(attempt, reporter)

    def cancel(self, attempt: Attempt) -> None:
        """End a running attempt; nothing happens if it ended already."""
        if attempt.tool == PIPELINE:
            self._children.cancel(attempt)
        elif attempt.isolation is Isolation.NONE:
            self._local.cancel(attempt)
        elif self._process is not None:
            self._process.cancel(attempt)

    async def close(self) -> None:
        """Close all of them, the next one even if closing one fails; first those that others run for."""
        try:
            await self._children.close()
        finally:
            try:
                await self._local.close()
            finally:
                if self._process is not None:
                    await self._process.close()
