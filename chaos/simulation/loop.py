"""The event loop of one simulated process: first come, first served, on the world's time, run one callback at a time.

Within a process asyncio's order is kept (programs may rely on it). Which process goes on is the world's choice.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from orchestrator.ports.clock import Clock


class SimulatedLoop(asyncio.AbstractEventLoop):
    """What asyncio's tasks, futures, sleeps and timeouts need of a loop, and no more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[str] = []

    # -- what asyncio asks for -----------------------------------------------------------------------------------

    def time(self) -> float:
        """Return the world's monotonic time."""
        return self._clock.monotonic()

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Run the callback after those that wait already."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run the callback after ``delay`` seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run the callback when the time has come."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Begin a task."""
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        """Return False."""
        return False

    def is_closed(self) -> bool:
        """Return False: a simulated process is dead or it is not."""
        return False

    def is_running(self) -> bool:
        """Return True."""
        return True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody else hears of."""
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is dropped when its time comes."""

    # -- what the world asks for ---------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether a callback can be run now."""
        self._move_due()
        return bool(self._ready)

    def next_time(self) -> float | None:
        """Return when the next timer is due, or None."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def _move_due(self) -> None:
        now = self.time()
        timers = self._timers
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                self._ready.append(timer)

    def step(self) -> None:
        """Run one callback; the loop of another process may be in the middle of one (it is frozen there)."""
        handle = self._ready.popleft()
        if handle.cancelled():
            return
        outer = asyncio._get_running_loop()  # noqa: SLF001 - loops within one another
        asyncio._set_running_loop(self)  # noqa: SLF001
        try:
            handle._run()  # noqa: SLF001 - what loops do with handles
        finally:
            asyncio._set_running_loop(outer)  # noqa: SLF001


def simulated_loop(clock: Clock) -> SimulatedLoop:
    """Return a loop; sockets, signals and servers, which an AbstractEventLoop must have, end in NotImplementedError."""
    return SimulatedLoop(clock)  # type: ignore[abstract]
