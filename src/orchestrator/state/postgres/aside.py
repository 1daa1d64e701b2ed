"""An event loop in a thread of its own, for what must go on while the caller's loop is blocked: the leases."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Aside:
    """Runs coroutines from any thread, also from one with a running loop; the thread begins with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._mutex = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, act: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run to the end and return the result; raises TimeoutError after ``seconds``, RuntimeError once closed."""
        try:
            future = asyncio.run_coroutine_threadsafe(act, self._begin())
        except BaseException:
            act.close()
            raise
        try:
            return future.result(seconds)
        except concurrent.futures.CancelledError:
            raise TimeoutError("it was closed meanwhile") from None
        except TimeoutError:
            future.cancel()
            raise

    def _begin(self) -> asyncio.AbstractEventLoop:
        with self._mutex:
            if self._closed:
                raise RuntimeError("closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            loop.close()

    def close(self) -> None:
        """End the thread, and what still runs in it; idempotent."""
        with self._mutex:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=5)
