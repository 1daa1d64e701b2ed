"""Signals: the first stops gracefully, the second leaves at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.core.fleet import Fleet
    from orchestrator.core.live import LiveExecutions


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into stops of everything that runs in this process."""

    def __init__(self, live: LiveExecutions, fleet: Fleet) -> None:
        self._live = live
        self._fleet = fleet
        self.asked: int | None = None

    @contextlib.contextmanager
    def installed(self, told: Callable[[int, int], None] | None = None) -> Iterator[None]:
        """Within: the first SIGINT, SIGTERM or SIGHUP stops gracefully all that runs here, the second leaves at once.

        SIGHUP (the terminal is gone) counts as SIGTERM, and stays ignored under nohup. The second one works even
        while something blocks the event loop. ``told`` is called with the signal and its count: 1, or 2 just before
        leaving.
        """
        loop = asyncio.get_running_loop()
        self.asked = None

        def stop(number: int) -> None:
            self._fleet.stop(number)
            for engine in self._live.engines():
                engine.stop(number)
            if told is not None:
                told(number, 1)

        def handle(received: int, _frame: object) -> None:
            number = int(signal.SIGTERM if received == signal.SIGHUP else received)
            if self.asked is not None:
                try:
                    if told is not None:
                        told(number, 2)
                finally:
                    os._exit(128 + number)
            self.asked = number
            loop.call_soon_threadsafe(stop, number)

        before: dict[signal.Signals, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            # The loop's own handler wakes it up whichever thread the signal reaches; ours then takes its place.
            # Not the main thread, or a system without: the default handling stays.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                handler = signal.getsignal(number)
                loop.add_signal_handler(number, _nothing)
                before[number] = handler
                signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _nothing() -> None:
    """Do nothing."""
