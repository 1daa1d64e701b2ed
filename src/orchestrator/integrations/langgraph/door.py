"""The one door into the store: an event loop in a thread of its own.

LangGraph calls a saver from threads, from one event loop or from several, one after the other. The store's
connections belong to one loop: this one.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")


class Door:
    """Runs coroutines on its loop, for callers with and without a loop of their own; begins with the first."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._mutex:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="orchestrator-langgraph", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``; blocks the calling thread."""
        return self._submit(work).result()

    async def enter(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work`` without blocking the caller's loop.

        A cancelled caller does not wait, and the work goes on to its end: half of a commit is none.
        """
        done = asyncio.wrap_future(self._submit(work))
        done.add_done_callback(_heard)
        return await asyncio.shield(done)

    def close(self) -> None:
        """End the thread; idempotent. It begins again when the door is used again."""
        with self._mutex:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())


def _heard(done: asyncio.Future[Any]) -> None:
    """Take the error of work whose caller has gone, so that nobody complains that it was never looked at."""
    if not done.cancelled():
        done.exception()
