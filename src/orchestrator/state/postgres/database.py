"""The database as all parts of the store work on it: statements that are repeated until their outcome is known.

Each method of the store is one statement, or one transaction, that may be carried out twice without harm: who repeats
one after a lost connection finds out whether the first was done. So whatever breaks, what is asked for is tried again
on another connection until it is done, refused, or out of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from orchestrator.errors import StoreError, StoreUnavailable
from orchestrator.state.outside import Outside
from orchestrator.state.postgres.aside import Aside
from orchestrator.state.postgres.failures import Verdict, judge, translate
from orchestrator.state.postgres.links import Links, unbroken
from orchestrator.state.postgres.queries import queries
from orchestrator.state.postgres.schema import Server, check_same, examine, is_current, migrate, promise
from orchestrator.state.records import PLAIN, Sealing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from orchestrator.ports.blobs import Blobs
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Lease
    from orchestrator.state.postgres.links import Connection
    from orchestrator.state.postgres.target import Target

T = TypeVar("T")
Rows = list[tuple[Any, ...]]

_log = logging.getLogger("orchestrator.store.postgres")

LEASE_SECONDS = 30.0
STORE_WAIT_SECONDS = 30.0
"""How long a server that was there before is waited for, by those who hold no lease."""
FIRST_WAIT_SECONDS = 3.0
"""How long a server is waited for that was never reached: then the URL is the likelier fault."""
SILENCE_SECONDS = 20.0
"""How long one that is connected may say nothing: a bit longer than its own statement timeout."""
CONNECTIONS = 4
REPEATS = 20
_SHORTEST, _LONGEST = 0.1, 5.0


@dataclass(slots=True)
class Owned:
    """What this handle knows of an execution it owns: the seq it had acknowledged.

    ``born`` tells it from another one of the same name.
    """

    execution_id: str
    born: str
    seq: int


@dataclass(slots=True)
class Patience:
    """How long to go on trying; ``until`` is moved on by renewals where ``lease`` is what gives the time."""

    seconds: float
    lease: Lease | None = None


class Database:
    """One server's schema; what this handle owns in it."""

    def __init__(
        self,
        target: Target,
        *,
        clock: Clock,
        chance: Chance,
        lease_seconds: float = LEASE_SECONDS,
        sealing: Sealing = PLAIN,
        blobs: Blobs | None = None,
    ) -> None:
        self.url = target.url
        self.lease_seconds = lease_seconds
        self._target = target
        self._clock = clock
        self._chance = chance
        self._sealing = sealing
        self._outside = Outside(blobs, self._store_id)
        self._queries = queries(target.schema)
        self._owned: dict[str, Owned] = {}
        self._server: Server | None = None
        self._uuid: str | None = None
        self._closed = False
        self._links = Links(target, CONNECTIONS, self._greet, silence_seconds=SILENCE_SECONDS)
        self._keeper_seconds = max(1.0, min(SILENCE_SECONDS, lease_seconds / 6))
        self._keeper_links = Links(target, 1, self._greet, silence_seconds=self._keeper_seconds)
        self._aside = Aside("orchestrator-lease-store")

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store {self.url} was closed")

    async def _greet(self, db: Connection) -> None:
        """Look at what a new connection leads to; make or migrate the schema with the first."""
        server = await examine(db, self._queries, self._target)
        if self._uuid is None and not is_current(server):
            await migrate(db, self._queries, self._target)
            server = await examine(db, self._queries, self._target)
        self._uuid = check_same(server, self._uuid, self._target)
        self._server = server

    async def _store_id(self) -> str:
        if self._uuid is None:
            await self._ask("probe")
        return self._uuid or ""

    # -- asking --------------------------------------------------------------------------------------------------

    async def _ask(self, name: str, *parameters: Any) -> Rows:
        """Carry out one statement that may be repeated, and return its rows."""

        async def work(db: Connection, again: bool) -> Rows:  # noqa: FBT001
            del again
            return await self._execute(db, name, parameters)

        return await self._run(work)

    async def _execute(self, db: Connection, name: str, parameters: tuple[Any, ...] | list[Any]) -> Rows:
        """Carry out one statement on a connection and return its rows; a transaction of its own where none is open."""
        query = self._queries[name]
        if self._target.pooled and db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            async with db.transaction():
                await self._settle(db)
                cursor = await db.execute(query, parameters, binary=True)
        else:
            cursor = await db.execute(query, parameters, binary=True)
        return await cursor.fetchall() if cursor.description is not None else []

    @contextlib.asynccontextmanager
    async def _durably(self, db: Connection) -> AsyncIterator[None]:
        """Within, commits survive a crash of the server, whatever the store's setting."""
        if self._target.durable:
            yield
            return
        async with db.transaction():
            await self._settle(db, durable=True)
            yield

    async def _settle(self, db: Connection, *, durable: bool = False) -> None:
        """Set, for this transaction, what else is set when connecting: behind a pooler the session is anybody's."""
        settings = dict(self._target.settings) if self._target.pooled else {}
        settings.pop("default_transaction_isolation", None)
        if durable:
            settings["synchronous_commit"] = "on"
        for name, value in settings.items():
            await db.execute("SELECT set_config($1, $2, true)", (name, value))

    async def _run(
        self,
        work: Callable[[Connection, bool], Awaitable[T]],
        *,
        patience: Patience | None = None,
        links: Links | None = None,
    ) -> T:
        """Do ``work`` on a connection, again and again until its outcome is known.

        It is told whether an earlier try may have been carried out. A cancelled caller is heard when it is done.
        """
        self._check_open()
        return await unbroken(self._try(work, patience or Patience(STORE_WAIT_SECONDS), links or self._links))

    async def _try(self, work: Callable[[Connection, bool], Awaitable[T]], patience: Patience, links: Links) -> T:
        began = time.monotonic()
        again = False
        tries = repeats = 0
        while True:
            self._check_open()
            try:
                async with links.lend() as db:
                    return await work(db, again)
            except StoreError:
                raise
            except (psycopg.Error, OSError) as error:
                verdict = judge(error)
                if verdict is Verdict.FAIL:
                    raise translate(error, self.url) from error
                if verdict is Verdict.REPEAT:
                    repeats += 1
                    if repeats > REPEATS:
                        raise translate(error, self.url) from error
                else:
                    again = True
                    links.drop_idle()
                left = self._left(patience, time.monotonic() - began)
                if left <= 0:
                    raise translate(error, self.url) from error
                delay = min(left, self._chance.random() * min(_LONGEST, _SHORTEST * 2**tries))
                tries += 1
                _log.debug("%s: %s; tried again in %.2f s", self.url, verdict.value, delay)
            await asyncio.sleep(delay)

    def _left(self, patience: Patience, passed: float) -> float:
        """Return how many seconds more to go on trying."""
        if self._server is None:
            return FIRST_WAIT_SECONDS - passed
        if patience.lease is not None:
            # A lease that has run out may be another's by now; the deadline moves on while the keeper gets through.
            return min(patience.lease.deadline - self._clock.monotonic(), patience.seconds - passed)
        return patience.seconds - passed

    def _keep(self, act: Coroutine[Any, Any, T]) -> T:
        """Run ``act`` for the lease keeper: on a loop and a connection of its own, and never for long."""
        try:
            self._check_open()
        except StoreUnavailable:
            act.close()
            raise
        try:
            return self._aside.run(act, self._keeper_seconds + 1)
        except TimeoutError as error:
            raise StoreUnavailable(f"the store {self.url} does not answer") from error
        except RuntimeError as error:
            raise StoreUnavailable(f"the store {self.url} was closed") from error

    @property
    def durability(self) -> str:
        """What a commit survives, in words; empty until the server was reached."""
        return promise(self._server, self._target) if self._server is not None else ""

    async def close(self) -> None:
        """See ports.store.Maintenance."""
        if self._closed:
            return
        if self._owned and self._server is not None:
            owned, self._owned = self._owned, {}
            names = [one.execution_id for one in owned.values()]

            async def give_up(db: Connection, again: bool) -> None:  # noqa: FBT001
                del again
                await self._execute(db, "let_go", (list(owned), names))

            try:
                await self._run(give_up, patience=Patience(0.0))
            except StoreError as error:
                _log.debug("%s: leases not given up, they run out: %s", self.url, error)
        self._closed = True
        self._aside.close()
        self._keeper_links.forget()
        self._links.forget()
