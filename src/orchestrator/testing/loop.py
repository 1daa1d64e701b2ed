"""An event loop whose time is a ManualClock's: where nothing can go on, the clock moves to what is due next."""

from __future__ import annotations

import asyncio
import selectors
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

    from orchestrator.testing.clock import ManualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_TICK_SECONDS = 0.02
"""How long a look at what is real lasts, at most; the clock follows in these steps."""


class StandsStill(AssertionError):
    """Nothing has happened for longer than a test is to wait, on its clock."""


class ManualLoop(asyncio.SelectorEventLoop):
    """A loop on a clock that stands still while there is work, and jumps when there is none.

    While something real is under way outside of it (threads, processes, sockets: ``outside`` counts them) time passes
    as it does. After ``longest`` seconds on the clock the loop gives up with StandsStill. ``moved`` is called after
    each jump.
    """

    def __init__(self, clock: ManualClock, longest: float) -> None:
        self.clock = clock
        self.outside = 0
        self.moved: Callable[[], None] | None = None
        self._limit = clock.monotonic() + longest
        super().__init__(_Selector(self))
        self._threads = ThreadPoolExecutor(thread_name_prefix="orchestrator-testing")
        self.set_default_executor(self._threads)

    def time(self) -> float:
        """Return the clock's time."""
        return self.clock.monotonic()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """See asyncio: what runs in a thread takes real time."""
        self.outside += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: object) -> None:
        self.outside -= 1

    def jump(self, seconds: float) -> None:
        """Move the clock on, for nothing is left to be done before."""
        if self.clock.monotonic() + seconds > self._limit:
            raise StandsStill("nothing has happened for a long time on the test's clock: does a fake never return?")
        self.clock.advance(seconds)
        if self.moved is not None:
            self.moved()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, end what it left behind, and close the loop."""
        try:
            return self.run_until_complete(main)
        finally:
            self._limit = float("inf")
            self.set_exception_handler(lambda *_: None)
            self.run_until_complete(self._end_rest())
            self._threads.shutdown(wait=True)
            self.close()

    async def _end_rest(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.shutdown_asyncgens()


class _Selector(selectors.DefaultSelector):
    """Waits for the loop, or lets its clock jump."""

    def __init__(self, loop: ManualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready; if nothing is, let time pass."""
        events = super().select(0)
        if events or timeout is None or timeout <= 0:
            return events if events or timeout is not None else super().select(None)
        if not self._loop.outside:
            self._loop.jump(timeout)
            return events
        began = time.monotonic()
        events = super().select(min(timeout, _TICK_SECONDS))
        self._loop.clock.advance(time.monotonic() - began)
        return events
