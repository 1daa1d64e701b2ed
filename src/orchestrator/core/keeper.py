"""The lease keeper: renews ownership from a thread of its own, so that no blocked loop and no slow disk loses it."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import LeaseLost, StoreDamaged, StoreError
from orchestrator.ports.store import BulkLeases

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ports.clock import Clock
    from orchestrator.ports.store import Lease, Leases, Request

_log = logging.getLogger("orchestrator.lease")

POLL_SECONDS = 0.5
"""How often requests (cancel, pause) are looked for."""


@dataclass(slots=True)
class _Kept:
    lease: Lease
    renew_at: float
    lost: Callable[[BaseException], None]
    asked: Callable[[Request], None]
    failures: int = 0


class LeaseKeeper:
    """Keeps leases until told to drop them; one thread for all of a store's, started with the first.

    The callbacks are called from that thread. ``lost`` is called once: the epoch moved on, the store is damaged, or
    it could not be reached until two thirds of the lease had passed. ``asked`` is told a request again and again while
    it stands.
    """

    def __init__(self, leases: Leases, clock: Clock, lease_seconds: float) -> None:
        self._leases = leases
        self._bulk = leases if isinstance(leases, BulkLeases) else None
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._kept: dict[str, _Kept] = {}
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def margin(self) -> float:
        """How many seconds before a lease's end its holder must no longer rely on it."""
        return self._lease_seconds / 3

    def keep(self, lease: Lease, lost: Callable[[BaseException], None], asked: Callable[[Request], None]) -> None:
        """Renew this lease from now on."""
        with self._mutex:
            self._kept[lease.token] = _Kept(lease, self._clock.monotonic() + self._lease_seconds / 4, lost, asked)
            self._begin()

    def drop(self, lease: Lease) -> None:
        """Stop renewing it."""
        with self._mutex:
            self._kept.pop(lease.token, None)

    def close(self) -> None:
        """End the thread."""
        with self._mutex:
            self._closed = True
            self._kept.clear()
            thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
        self._wake.clear()

    def _begin(self) -> None:
        """Start the thread, if there is none. Whoever calls ``tend`` by other means overrides this."""
        if self._thread is None:
            self._closed = False
            self._thread = threading.Thread(target=self._run, name="orchestrator-lease-keeper", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._wake.wait(POLL_SECONDS):
            if self._closed:
                return
            self.tend()

    def tend(self) -> None:
        """Look after every lease once: renew those that are due, and ask for requests."""
        with self._mutex:
            kept = list(self._kept.values())
        if self._bulk is not None:
            if kept:
                self._tend_all(self._bulk, kept)
            return
        for entry in kept:
            self._tend(entry)

    def _tend_all(self, leases: BulkLeases, kept: list[_Kept]) -> None:
        """Do for all of them together what ``_tend`` does for one."""
        now = self._clock.monotonic()
        due = [entry for entry in kept if now >= entry.renew_at]
        try:
            requests = leases.tend([entry.lease for entry in kept], [entry.lease for entry in due])
        except StoreError as error:
            _log.warning("%d leases not looked after: %s", len(kept), error)
            for entry in kept:
                self._bear(entry, error, now)
            return
        except Exception as error:  # noqa: BLE001 - a keeper that dies silently would let the leases run out
            _log.exception("the lease keeper failed")
            for entry in kept:
                self._give_up(entry, error)
            return
        for entry in due:
            entry.renew_at = now + self._lease_seconds / 4
        for entry in kept:
            entry.failures = 0
            if entry.lease.token not in requests:
                self._give_up(entry, LeaseLost(entry.lease.execution_id, entry.lease.epoch))
                continue
            answer = requests[entry.lease.token]
            if isinstance(answer, StoreDamaged):
                self._give_up(entry, answer)
            elif answer is not None:
                entry.asked(answer)

    def _tend(self, entry: _Kept) -> None:
        now = self._clock.monotonic()
        try:
            if now >= entry.renew_at:
                self._leases.renew(entry.lease)
                entry.renew_at = now + self._lease_seconds / 4
            request = self._leases.requests(entry.lease)
        except LeaseLost as error:
            self._give_up(entry, error)
        except StoreError as error:
            _log.warning("lease of %s not renewed: %s", entry.lease.execution_id, error)
            self._bear(entry, error, now)
        except Exception as error:  # noqa: BLE001 - a keeper that dies silently would let the lease run out
            _log.exception("the lease keeper failed")
            self._give_up(entry, error)
        else:
            entry.failures = 0
            if request is not None:
                entry.asked(request)

    def _bear(self, entry: _Kept, error: StoreError, now: float) -> None:
        """Hope for the store to come back, for as long as the lease allows; damage does not pass.

        A single failure says little: if this process stood still meanwhile, it may only have overslept an answer, which
        the next look will bring, with the word that somebody else took over.
        """
        entry.failures += 1
        late = now > entry.lease.deadline - self._lease_seconds / 3
        if isinstance(error, StoreDamaged) or (late and entry.failures > 1):
            self._give_up(entry, error)

    def _give_up(self, entry: _Kept, error: BaseException) -> None:
        with self._mutex:
            known = self._kept.pop(entry.lease.token, None)
        if known is not None:
            entry.lost(error)
