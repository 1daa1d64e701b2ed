"""The data, and a handle onto it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from orchestrator.errors import StoreUnavailable, UnknownExecution

if TYPE_CHECKING:
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Place

LEASE_SECONDS = 30.0


class Row(NamedTuple):
    """A commit: the seq of its last fact, that fact's time, how many tasks are done, and the facts, sealed."""

    last: int
    at: float
    completed: int
    record: bytes


class Cached(NamedTuple):
    """An entry of the cache: its time, and all of it, sealed."""

    at: float
    record: bytes


@dataclass(slots=True)
class Kept:
    """``number`` counts admissions; ``token`` None is an execution that nobody owns; see Admission for ``head``.

    ``mail`` are the sealed signals by their id, oldest first.
    """

    execution_id: ExecutionId
    number: int
    pipeline_id: str
    status: str
    total: int
    created_at: float
    epoch: int
    head: int
    owner: str
    token: str | None
    lease_until: float
    commits: list[Row]
    cancel_by: str | None = None
    paused_by: str | None = None
    refs: set[bytes] = field(default_factory=set)
    fingerprints: set[bytes] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    place: Place | None = None
    waiting: bool = False
    due: float | None = None
    mail: dict[str, bytes] = field(default_factory=dict)

    @property
    def seq(self) -> int:
        """The last fact's seq."""
        return self.commits[-1].last


class Data:
    """What all handles onto one store share; ``mutex`` makes each method one transaction.

    ``cache`` holds the entries of each fingerprint by the number of their execution.
    """

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.executions: dict[str, Kept] = {}
        self.values: dict[bytes, bytes] = {}
        self.cache: dict[bytes, dict[int, Cached]] = {}
        self.admitted = 0
        self.queues: dict[str, tuple[int | None, str | None]] = {}


class MemoryData:
    """A handle onto a process's data: what all parts of the store work on."""

    _named: ClassVar[dict[str, Data]] = {}
    _named_mutex = threading.Lock()

    def __init__(self, *, clock: Clock, chance: Chance, name: str = "", lease_seconds: float = LEASE_SECONDS) -> None:
        self.url = f"memory://{name}"
        self.lease_seconds = lease_seconds
        self._name = name
        self._clock = clock
        self._chance = chance
        self._data = Data()
        self._tokens: set[str] = set()
        self._closed = False

    @classmethod
    def shared(cls, name: str, *, clock: Clock, chance: Chance, lease_seconds: float = LEASE_SECONDS) -> Self:
        """Return a handle onto this process's store of that name; the first one makes it."""
        store = cls(clock=clock, chance=chance, name=name, lease_seconds=lease_seconds)
        with cls._named_mutex:
            store._data = cls._named.setdefault(name, store._data)
        return store

    def reopened(self) -> Self:
        """Return another handle onto the same data, as a second process would open it."""
        store = type(self)(clock=self._clock, chance=self._chance, name=self._name, lease_seconds=self.lease_seconds)
        store._data = self._data  # noqa: SLF001 - one of ours
        return store

    def _find(self, execution_id: str) -> Kept:
        self._check_open()
        execution = self._data.executions.get(execution_id)
        if execution is None:
            raise UnknownExecution(execution_id)
        return execution

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store {self.url} was closed")
