"""Writing to one thread: under a lease that is kept while it is warm, and taken back when another took it.

LangGraph knows no owners: whoever calls writes. The store does, so a writer takes a thread over from whoever has it,
reads how its journal ends by then, and appends; the store refuses it if somebody was quicker, and it begins anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from orchestrator.domain.ids import Seq
from orchestrator.errors import (
    ExecutionExists,
    ExecutionOwned,
    JournalConflict,
    LeaseLost,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    UnknownExecution,
)
from orchestrator.integrations.langgraph.facts import Body, Kept, Write, created, load_body, slots_of
from orchestrator.integrations.langgraph.reading import PATIENCE, Again, current_slot, find, has_moved, newest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Lease, Store

T = TypeVar("T")

REMEMBERED = 64
"""Of so many namespaces a warm thread remembers the newest checkpoint's values by reference."""
CROWDED = 16
"""So many commits after another process took the thread, it is given back after each."""
IDLE_SECONDS = 1.0
"""After so long without a commit a thread is given back."""
PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Desk:
    """What all threads of a saver write with; ``owner`` is a description for people."""

    store: Store
    clock: Clock
    chance: Chance
    owner: str


@dataclass(slots=True)
class Warm:
    """What the owner of a thread knows of it; ``lease`` None: the thread does not exist yet.

    ``spaces`` is how many namespaces have checkpoints, ``met`` those of them that are known so far, ``heads`` the
    newest checkpoints of some of these.
    """

    slot: ExecutionId
    lease: Lease | None
    seq: int
    spaces: int | None
    met: set[str] = field(default_factory=set)
    heads: dict[str, Kept] = field(default_factory=dict)
    bodies: OrderedDict[str, tuple[str, Body]] = field(default_factory=OrderedDict)

    def remember(self, namespace: str, checkpoint_id: str, body: Body) -> None:
        """Remember what the next checkpoint of a namespace most probably follows."""
        self.bodies[namespace] = checkpoint_id, body
        self.bodies.move_to_end(namespace)
        if len(self.bodies) > REMEMBERED:
            self.bodies.popitem(last=False)


@dataclass(slots=True)
class Commit:
    """What is to be appended together, and what the owner knows once it is.

    ``kept`` and ``body`` are the checkpoint among the facts, if there is one.
    """

    events: list[Event]
    values: list[EncodedValue]
    kept: Kept | None = None
    body: Body | None = None


class Thread:
    """One thread of a saver; ``mutex`` keeps its writers in this process apart."""

    def __init__(self, desk: Desk, thread_id: str) -> None:
        self.mutex = asyncio.Lock()
        self.thread_id = thread_id
        self._desk = desk
        self._warm: Warm | None = None
        self._crowded = 0
        self._early: dict[tuple[str, str], tuple[ExecutionId, int]] = {}
        self._used_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._releasing: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is lost by forgetting it: nobody writes, and no write waits for its checkpoint."""
        return not self.mutex.locked() and not self._early

    @property
    def slot(self) -> ExecutionId | None:
        """The execution that it lives in as far as is known here; None: it must be looked for."""
        return None if self._warm is None or self._warm.lease is None else self._warm.slot

    # -- ownership -----------------------------------------------------------------------------------------------

    async def owned(self, work: Callable[[Warm], Awaitable[T]]) -> T:
        """Return what ``work`` returns, done while the thread is ours; done again if it turns out that it was not."""
        async with self.mutex:
            pause = PAUSE_SECONDS
            for _ in range(PATIENCE):
                try:
                    result = await work(await self._own())
                except (Again, UnknownExecution, ExecutionExists, ExecutionOwned, JournalConflict, LeaseLost) as error:
                    if isinstance(error, LeaseLost):
                        self._crowded = CROWDED
                    await self._release()
                    await asyncio.sleep(pause * self._desk.chance.random())
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                    continue
                except StoreError as error:
                    slot = self.slot
                    self._warm = None  # what came of it is read from the store
                    if not isinstance(error, StoreDamaged) or await self._is_there(slot):
                        raise
                    continue  # a server that misses what it had: the thread moved on, and that was removed
                if self._crowded:
                    self._crowded -= 1
                    await self._release()
                elif self._warm is not None:
                    self._keep_warm()
                return result
        raise StoreUnavailable(
            f"thread {self.thread_id!r}: other processes write to it all the time, and {PATIENCE} attempts to get "
            "between them failed; try again, or let fewer processes write to one thread"
        )

    async def _is_there(self, slot: ExecutionId | None) -> bool:
        """Tell whether the thread lives where it did, or nowhere any more."""
        return await current_slot(self._desk.store, self.thread_id) in (slot, None)

    async def _own(self) -> Warm:
        if self._warm is None:
            store = self._desk.store
            slot = await current_slot(store, self.thread_id)
            if slot is None:
                self._warm = Warm(slots_of(self.thread_id)[0], None, 0, 0)
            else:
                lease = await store.acquire(slot, self._desk.owner, steal=True)
                if await has_moved(store, slot):
                    await store.release(lease)
                    raise Again
                self._warm = Warm(slot, lease, (await store.summary(slot)).seq, None)
        return self._warm

    async def release(self) -> None:
        """Give the thread back, so that others need not steal it."""
        async with self.mutex:
            await self._release()

    async def _release(self) -> None:
        """Give the lease back; one that was lost is let go of, with the lock that may hang on it."""
        warm, self._warm = self._warm, None
        if warm is not None and warm.lease is not None:
            with suppress(StoreError):
                await self._desk.store.release(warm.lease)

    def _keep_warm(self) -> None:
        loop = asyncio.get_running_loop()
        self._used_at = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(IDLE_SECONDS, self._cool)

    def _cool(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        left = self._used_at + IDLE_SECONDS - loop.time()
        if self._warm is None:
            return
        if left > 0:
            self._timer = loop.call_later(left, self._cool)
        else:
            self._releasing = loop.create_task(self.release())

    async def close(self) -> None:
        """Give the thread back, and expect nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.release()

    def forget(self) -> None:
        """Know nothing of the thread any more: it was removed, or moved."""
        self._warm = None

    # -- writing -------------------------------------------------------------------------------------------------

    async def commit(self, warm: Warm, commit: Commit) -> None:
        """Append, or create the thread with these facts. Raises what says that the thread is not ours."""
        store = self._desk.store
        if warm.lease is None:
            first, told = created(self._desk.clock.now(), self.thread_id, 1, 1)
            events: list[Event] = [first, *commit.events]
            warm.lease = await store.create(warm.slot, self._desk.owner, events, [told, *commit.values])
            warm.seq = len(events)
        else:
            warm.seq = await store.append(
                warm.lease, commit.events, commit.values, expected_seq=Seq(warm.seq), completed=0
            )
        if commit.kept is not None and commit.body is not None:
            self._note(warm, commit.kept, commit.body)

    def _note(self, warm: Warm, kept: Kept, body: Body) -> None:
        warm.spaces = kept.spaces
        warm.met.add(kept.namespace)
        if kept.head is None:
            warm.heads[kept.namespace] = kept
        warm.remember(kept.namespace, kept.checkpoint_id, body)
        for namespace, checkpoint_id in list(self._early):
            if namespace == kept.namespace and checkpoint_id <= kept.checkpoint_id:
                del self._early[namespace, checkpoint_id]

    def next_seq(self, warm: Warm) -> int:
        """Return the seq of the next fact to be appended."""
        return 2 if warm.lease is None else warm.seq + 1

    async def head(self, warm: Warm, namespace: str) -> Kept | None:
        """Return the newest checkpoint of a namespace; None if it has none."""
        if namespace not in warm.heads and warm.lease is not None:
            if namespace not in warm.met and len(warm.met) >= await self.spaces(warm):
                return None
            found = await find(self._desk.store, warm.slot, namespace, None, met=warm.met)
            if found is not None:
                warm.heads[namespace] = found.kept
        return warm.heads.get(namespace)

    async def spaces(self, warm: Warm) -> int:
        """Return how many namespaces of the thread have checkpoints."""
        if warm.spaces is None:
            kept = await newest(self._desk.store, warm.slot)
            warm.spaces = 0 if kept is None else kept.spaces
        return warm.spaces

    async def body_of(self, warm: Warm, namespace: str, checkpoint_id: str) -> Body | None:
        """Return the value of a checkpoint, mostly from memory; None if there is none such."""
        known = warm.bodies.get(namespace)
        if known is not None and known[0] == checkpoint_id:
            return known[1]
        if warm.lease is None:
            return None
        found = await find(self._desk.store, warm.slot, namespace, checkpoint_id)
        return None if found is None else await load_body(self._desk.store, warm.slot, found.kept)

    async def note_writes(self, warm: Warm, writes: Sequence[Write]) -> None:
        """Remember writes that came before their checkpoint, as they do while LangGraph saves in the background."""
        first = writes[0]
        head = await self.head(warm, first.namespace)
        if head is None or first.checkpoint_id > head.checkpoint_id:
            self._early.setdefault((first.namespace, first.checkpoint_id), (warm.slot, first.seq))

    async def early_of(self, warm: Warm, namespace: str, checkpoint_id: str) -> int | None:
        """Return where writes for a checkpoint that is about to be put may begin; None: after it."""
        head = await self.head(warm, namespace)
        if head is not None and head.checkpoint_id == checkpoint_id:
            return head.early or head.seq
        if head is not None and head.checkpoint_id > checkpoint_id:
            return 1  # put out of order, or again: there is no telling
        slot, seq = self._early.get((namespace, checkpoint_id), (warm.slot, None))
        return seq if slot == warm.slot else 1
