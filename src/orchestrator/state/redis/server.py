"""A Redis server with one store on it: found out at connect, called with patience."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError

from orchestrator.errors import StoreDamaged, StoreError, StoreIncompatible, StoreUnavailable
from orchestrator.state.redis.durability import Promise, judge, look
from orchestrator.state.redis.faults import code_of, is_temporary, translate
from orchestrator.state.redis.keys import store_key
from orchestrator.state.redis.program import program
from orchestrator.state.redis.wire import Command, ThreadWire, Wire, exchange_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.ports.clock import Chance
    from orchestrator.state.redis.address import Address

_log = logging.getLogger("orchestrator.store")

MAGIC = "durable-orchestrator"
FORMAT = 1
PATIENCE_SECONDS = 30.0
"""How long a request is repeated while the server cannot be reached, where no lease sets a nearer end."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
WAIT_MS = 10_000
_ASK = (
    ("INFO",),
    ("CONFIG", "GET", "appendfsync"),
    ("CONFIG", "GET", "no-appendfsync-on-rewrite"),
    ("CONFIG", "GET", "maxmemory-policy"),
    ("WAITAOF", 0, 0, 1),
)


class Unsynced(StoreUnavailable):
    """The server did not say in time that a commit is on its disk."""


class Server:
    """Runs the store's scripts. Raises StoreError only; ``promise`` is what a commit survives.

    Every connection is asked anew what the server promises, and whether the store is still the one that was opened:
    it may have been started with other settings, or another server may have taken its place.
    """

    def __init__(self, address: Address, chance: Chance) -> None:
        self.address = address
        self.key = store_key(address.prefix)
        self.closed = False
        self._chance = chance
        self._wire = Wire(address, self._greet)
        self._thread_wire = ThreadWire(address)
        self.uuid = ""
        self.promise = self._open()

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open(self) -> Promise:
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
        if not self.address.is_private:
            _log.warning("the store's data goes to %s unencrypted; use rediss://", self.address.place)
        while True:
            try:
                promise = self._judge(self._thread_wire.exchange(*_ASK))
                self.uuid = self._find_header()
                return promise
            except (RedisError, OSError) as error:
                # Nothing has begun yet: a server that is not there is told at once, one that is loading is awaited.
                self._thread_wire.close()
                if code_of(error) != "LOADING" or time.monotonic() > deadline:
                    raise translate(error, self.address.place) from error
                time.sleep(pause * self._chance.random())
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            except BaseException:
                self._thread_wire.close()
                raise

    def _judge(self, answers: list[Any]) -> Promise:
        info, *config, waitaof = answers
        if isinstance(info, ResponseError):
            raise info
        settings: dict[str, str] | None = {}
        for pair in config:
            if isinstance(pair, ResponseError):
                settings = None
            elif settings is not None and len(pair) == 2:  # noqa: PLR2004 - name and value
                settings[pair[0].decode()] = pair[1].decode()
        known = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
        return judge(look(known, settings, waitaof=not isinstance(waitaof, ResponseError)), self.address)

    def _find_header(self) -> str:
        opened = program("open")
        given = (1, self.key, uuid.uuid4().hex, MAGIC, FORMAT)
        answer = self._thread_wire.exchange(("EVAL", opened.text, *given))[0]
        if isinstance(answer, ResponseError):
            raise answer
        what, *header = answer
        if what == b"headless":
            raise StoreDamaged(self.key, "the store's header is gone, and its executions are still there")
        if what == b"foreign":
            raise StoreIncompatible(f"the key {self.key} on {self.address.place} is no store: choose another prefix")
        found, version = header
        if not version.isdigit() or int(version) > FORMAT:
            raise StoreIncompatible(
                f"{self.address.shown} has format {version.decode(errors='replace')}, and this version reads up to"
                f" {FORMAT}: it was written by a newer version; upgrade"
            )
        return str(found.decode())

    async def _greet(self, connection: Any) -> None:
        self.promise = self._judge(await exchange_on(connection, _ASK))

    # -- calling ---------------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise StoreUnavailable once the store was closed."""
        if self.closed:
            raise StoreUnavailable(f"the store {self.address.shown} is closed")

    async def run(
        self, name: str, *arguments: Any, commit: bool = False, durable: bool = False, patience: float | None = None
    ) -> list[Any]:
        """Run a script to its answer, over lost connections; what it changed is then as durable as promised.

        ``commit``: it changes something that must last; ``durable``: whatever the durability. A script that was sent
        before and whose answer was lost is told so, and recognises what it has done. ``patience`` is in seconds.
        """
        self.check_open()
        deadline = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
        pause, repeated, whole = FIRST_PAUSE_SECONDS, False, False
        while True:
            try:
                commands = [self._call(name, arguments, repeated=repeated, whole=whole)]
                if commit and (self.promise.wait or (durable and self.promise.can_wait)):
                    commands.append(("WAITAOF", 1, 0, WAIT_MS))
                return self._answer(await self._wire.exchange(*commands))
            except (RedisError, OSError, Unsynced) as error:
                if code_of(error) == "NOSCRIPT" and not whole:
                    whole = True
                    continue
                temporary = isinstance(error, Unsynced) or is_temporary(error)
                if not temporary or time.monotonic() + pause > deadline:
                    raise self._told(error) from error
                _log.info("%s: %s; trying again", self.address.place, error)
            repeated, whole = True, False
            await asyncio.sleep(pause * self._chance.random())
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            self.check_open()

    async def ask(self, *commands: Command) -> list[Any]:
        """Send commands that change nothing and return their answers, over lost connections."""
        self.check_open()
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
        while True:
            try:
                answers = await self._wire.exchange(*commands)
                for answer in answers:
                    if isinstance(answer, ResponseError):
                        raise answer
                return answers
            except (RedisError, OSError) as error:
                if not is_temporary(error) or time.monotonic() + pause > deadline:
                    raise self._told(error) from error
            await asyncio.sleep(pause * self._chance.random())
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            self.check_open()

    def run_in_thread(self, name: str, *arguments: Any) -> list[Any]:
        """Run a script from a thread without a loop; one more try where the connection turns out to be broken."""
        for last in (False, True):
            self.check_open()
            try:
                answers = self._thread_wire.exchange(self._call(name, arguments, repeated=last, whole=False))
                if code_of(answers[0]) == "NOSCRIPT":
                    answers = self._thread_wire.exchange(self._call(name, arguments, repeated=last, whole=True))
                return self._answer(answers)
            except (RedisError, OSError) as error:
                if last or not is_temporary(error):
                    raise self._told(error) from error
        raise AssertionError

    def _call(self, name: str, arguments: Sequence[Any], *, repeated: bool, whole: bool) -> Command:
        script = program(name)
        how = ("EVAL", script.text) if whole else ("EVALSHA", script.sha)
        return (*how, 1, self.key, self.uuid, int(repeated), *arguments)

    def _answer(self, answers: list[Any]) -> list[Any]:
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        answer = [answers[0]] if type(answers[0]) is bytes else answers[0]
        if answer[0] == b"replaced":
            raise StoreDamaged(
                self.address.shown,
                "it was emptied or replaced while it was in use (FLUSHALL, another server, a restored copy)",
            )
        if len(answers) > 1 and answer[0] == b"ok" and answers[1][0] < 1:
            raise Unsynced(f"the Redis server {self.address.place} does not write its log to the disk")
        return list(answer)

    def _told(self, error: Exception) -> StoreError:
        return error if isinstance(error, StoreError) else translate(error, self.address.place)

    async def close(self) -> None:
        """Close what the running loop and the keeper's thread have; idempotent."""
        self.closed = True
        self._thread_wire.close()
        await self._wire.close()
