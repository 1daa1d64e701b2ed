"""Looking into a thread's journal: back from its end for one checkpoint, or through all of it for lists."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from orchestrator.errors import UnknownExecution
from orchestrator.integrations.langgraph.facts import Kept, Moved, Write, identity, parse, slots_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import Commit, Store

PATIENCE = 100
"""So many times a reader or writer begins anew because somebody else moved the thread meanwhile."""


class Again(Exception):
    """The thread lives elsewhere by now: look where, and begin anew."""


async def current_slot(store: Store, thread_id: str) -> ExecutionId | None:
    """Return the execution that a thread lives in now; None if there is no such thread.

    There are two only while it moves, or after a process died doing it. Then the older one is it, until its journal
    ends with the word that it has moved.
    """
    found = [slot for slot in slots_of(thread_id) if await _exists(store, slot)]
    if len(found) <= 1:
        return found[0] if found else None
    first, second = found
    try:
        if (await identity(store, first)).generation > (await identity(store, second)).generation:
            first, second = second, first
        return second if await has_moved(store, first) else first
    except UnknownExecution:
        raise Again from None


def other_slot(thread_id: str, slot: ExecutionId) -> ExecutionId:
    """Return the execution that a thread moves to from this one."""
    first, second = slots_of(thread_id)
    return second if slot == first else first


async def _exists(store: Store, slot: ExecutionId) -> bool:
    try:
        await store.summary(slot)
    except UnknownExecution:
        return False
    return True


async def has_moved(store: Store, slot: ExecutionId) -> bool:
    """Tell whether the last fact of an execution says that its thread has moved."""
    async with aclosing(_back(store, slot)) as commits:
        async for commit in commits:
            last = commit.first + len(commit.events) - 1
            return isinstance(parse(slot, last, commit.events[-1]), Moved)
    return False


def _back(store: Store, slot: ExecutionId) -> AsyncGenerator[Commit, None]:
    return cast("AsyncGenerator[Commit, None]", store.read(slot, newest_first=True))


@dataclass(slots=True)
class Found:
    """A checkpoint and its pending writes, in LangGraph's order."""

    kept: Kept
    writes: list[Write]


async def newest(store: Store, slot: ExecutionId) -> Kept | None:
    """Return the checkpoint that was recorded last, of whatever namespace; None if there is none."""
    async with aclosing(_back(store, slot)) as commits:
        async for commit in commits:
            last = commit.first + len(commit.events) - 1
            for offset, event in enumerate(reversed(commit.events)):
                told = parse(slot, last - offset, event)
                if isinstance(told, Kept):
                    return told
    return None


async def find(
    store: Store, slot: ExecutionId, namespace: str, checkpoint_id: str | None, *, met: set[str] | None = None
) -> Found | None:
    """Return a checkpoint of a namespace (None: the newest), or None if there is none such.

    Reads back from the end of the journal, and no further than the checkpoint. That a namespace has none at all is
    known once as many others were met as there are; ``met`` are those known before, and takes in what is met now.
    Raises Again, UnknownExecution.
    """
    search = _Search(namespace, checkpoint_id, met if met is not None else set())
    async with aclosing(_back(store, slot)) as commits:
        async for commit in commits:
            last = commit.first + len(commit.events) - 1
            for offset, event in enumerate(reversed(commit.events)):
                told = parse(slot, last - offset, event)
                if isinstance(told, Moved):
                    raise Again
                if told is not None and search.meets(told):
                    return search.result()
            if search.reached(commit.first):
                return search.result()
    return search.result()


@dataclass(slots=True)
class _Search:
    namespace: str
    target: str | None
    seen: set[str]
    found: Kept | None = None
    spaces: int | None = None
    writes: dict[str, list[Write]] = field(default_factory=dict)

    def meets(self, told: Kept | Write) -> bool:
        """Take a fact in, newest first; True once nothing older matters."""
        if isinstance(told, Write):
            if told.namespace == self.namespace:
                self.writes.setdefault(told.checkpoint_id, []).append(told)
            return False
        if self.spaces is None:
            self.spaces = told.spaces
        self.seen.add(told.namespace)
        if told.namespace != self.namespace:
            return self.found is None and self.namespace not in self.seen and len(self.seen) >= self.spaces
        if self.found is not None:
            return False
        if self.target is None:
            self.target = told.head or told.checkpoint_id
        if told.checkpoint_id != self.target:
            return False
        self.found = told
        return told.early is None

    def reached(self, seq: int) -> bool:
        """Tell whether nothing before this seq matters."""
        return self.found is not None and (self.found.early is None or seq <= self.found.early)

    def result(self) -> Found | None:
        if self.found is None:
            return None
        return Found(self.found, in_order(reversed(self.writes.get(self.found.checkpoint_id, []))))


def in_order(writes: Iterable[Write]) -> list[Write]:
    """Return the writes of one checkpoint, given as recorded, as LangGraph wants them.

    Of those with the same task and index the first counts, of LangGraph's own (negative) ones the last.
    """
    chosen: dict[tuple[str, int], Write] = {}
    for write in writes:
        key = (write.task_id, write.index)
        if write.index < 0 or key not in chosen:
            chosen[key] = write
    return sorted(chosen.values(), key=lambda write: (write.path, write.task_id, write.index))


@dataclass(slots=True)
class History:
    """All of a thread but its values: its checkpoints by namespace and id, as recorded, and their writes."""

    thread_id: str
    generation: int
    slot: ExecutionId
    kept: dict[tuple[str, str], Kept]
    writes: dict[tuple[str, str], list[Write]]

    def newest_first(self) -> list[Kept]:
        """Return the checkpoints by descending id."""
        return sorted(self.kept.values(), key=lambda kept: (kept.checkpoint_id, kept.seq), reverse=True)

    def find(self, namespace: str, checkpoint_id: str | None) -> Kept | None:
        """Return a checkpoint of a namespace (None: the newest), or None if there is none such."""
        if checkpoint_id is not None:
            return self.kept.get((namespace, checkpoint_id))
        return next((kept for kept in self.newest_first() if kept.namespace == namespace), None)

    def of(self, kept: Kept) -> Found:
        """Return a checkpoint with its writes."""
        return Found(kept, in_order(self.writes.get((kept.namespace, kept.checkpoint_id), ())))


async def history(store: Store, slot: ExecutionId) -> History:
    """Read the facts of a whole thread; no value is loaded. Raises Again, UnknownExecution."""
    who = await identity(store, slot)
    whole = History(who.thread_id, who.generation, slot, {}, {})
    async for commit in store.read(slot):
        for seq, event in enumerate(commit.events, commit.first):
            told = parse(slot, seq, event)
            if isinstance(told, Moved):
                raise Again
            if isinstance(told, Kept):
                key = (told.namespace, told.checkpoint_id)
                whole.kept.pop(key, None)  # put again: it stands where it was put last
                whole.kept[key] = told
            elif isinstance(told, Write):
                whole.writes.setdefault((told.namespace, told.checkpoint_id), []).append(told)
    return whole
