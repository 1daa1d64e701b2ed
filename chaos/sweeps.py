"""Sweeps: one trial for each number, until one finds nothing left to strike."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from chaos.plans import Plan
    from chaos.trials import Lab

REPORT_SECONDS = 10.0


@dataclass
class Sweep:
    """One kind of fault in one process: its numbers are handed out until one finds no call to strike."""

    stage: str
    kind: str
    step: int = 1
    next: int = 1
    last: int | None = None
    struck: int = 0


@dataclass
class Shared:
    """What several jobs share: the sweeps, until when to begin trials, and what was found.

    ``plan`` makes a trial of a stage and ``KIND:NUMBER``; ``repeat`` is the command that makes one case once more,
    but for the case.
    """

    sweeps: list[Sweep]
    until: float
    plan: Callable[[str, str], Plan]
    repeat: str
    mutex: threading.Lock = field(default_factory=threading.Lock)
    failures: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)

    def take(self) -> tuple[Sweep, int] | None:
        """Hand out the next case, of the sweep that is least far; None when all is done."""
        with self.mutex:
            open_ones = [sweep for sweep in self.sweeps if sweep.last is None]
            if not open_ones or time.monotonic() > self.until or self.errors:
                return None
            sweep = min(open_ones, key=lambda each: each.next)
            number = sweep.next
            sweep.next += sweep.step
            return sweep, number

    def strike(self, lab: Lab, sweep: Sweep, number: int) -> None:
        """Make one trial, and take note of what was violated."""
        verdict = lab.run(self.plan(sweep.stage, f"{sweep.kind}:{number}"))
        with self.mutex:
            self.notes += verdict.notes
            if verdict.fired:
                sweep.struck += 1
            elif verdict.calls < number:
                sweep.last = number
            if not verdict.ok:
                self.failures.append(f"{verdict}\n    {self.repeat} --only {sweep.stage}:{sweep.kind}:{number}")
                print(self.failures[-1], flush=True)

    def unfinished(self) -> list[str]:
        """Return the sweeps that did not reach their last call."""
        return [f"{each.stage}:{each.kind}" for each in self.sweeps if each.last is None]


def sweep_all(shared: Shared, labs: Iterable[Callable[[], AbstractContextManager[Lab]]]) -> None:
    """Carry out every sweep, by one job for each lab, which opens it."""

    def job(opened: Callable[[], AbstractContextManager[Lab]]) -> None:
        try:
            with opened() as lab:
                while (case := shared.take()) is not None:
                    shared.strike(lab, *case)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            shared.errors.append(error)

    threads = [threading.Thread(target=job, args=[opened], daemon=True) for opened in labs]
    for thread in threads:
        thread.start()
    reported = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.1)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            struck = sum(sweep.struck for sweep in shared.sweeps)
            print(f"{struck} calls struck, {len(shared.failures)} failed", flush=True)
    if shared.errors:
        raise shared.errors[0]
