"""Pruning a thread: what stays is written to its other execution, the thread moves there, and the old one goes.

The move is one fact, durable, in the old journal. Before it the new execution is nobody's; a process that dies
leaves one of the two to be removed by the next that prunes or deletes the thread.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain.ids import Seq
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import (
    ExecutionOwned,
    LeaseLost,
    StoreDamaged,
    StoreIncompatible,
    UnknownExecution,
    UsageError,
)
from orchestrator.integrations.langgraph.facts import (
    Moved,
    created,
    identity,
    load_body,
    slots_of,
    value_fact,
)
from orchestrator.integrations.langgraph.reading import Again, History, current_slot, other_slot
from orchestrator.ports.store import NEW, Admission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.events import CheckpointMade
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.integrations.langgraph.facts import Kept
    from orchestrator.integrations.langgraph.thread import Desk, Thread, Warm
    from orchestrator.ports.store import Store

CHUNK = 500
"""So many facts, at least, are written in one commit of a move."""
REMOVE_ATTEMPTS = 30
REMOVE_PAUSE_SECONDS = 0.1
"""Who has lost a thread notices at its next commit, and lets go of an idle one by itself within these seconds."""


async def latest(store: Store, whole: History) -> set[Kept]:
    """Return the checkpoints that a thread goes on from: the newest of each namespace.

    A channel that is kept as changes only (a ``DeltaChannel``) is made of its ancestors' writes: they stay as far
    back as its last whole value.
    """
    heads: dict[str, Kept] = {}
    for kept in whole.newest_first():
        heads.setdefault(kept.namespace, kept)
    staying = set(heads.values())
    for head in heads.values():
        at: Kept | None = head
        body = await load_body(store, whole.slot, head)
        lacking = set(body.metadata.get("counters_since_delta_snapshot") or ()) - set(body.values)
        while lacking and at is not None and at.parent is not None:
            at = whole.kept.get((at.namespace, at.parent))
            if at is not None:
                staying.add(at)
                lacking -= set((await load_body(store, whole.slot, at)).values)
    return staying


async def keep_only(desk: Desk, thread: Thread, warm: Warm, whole: History, staying: set[Kept]) -> None:
    """Rewrite a thread that ``warm`` owns so that only these checkpoints are left, with their writes."""
    if warm.lease is None:
        return
    store = desk.store
    target = other_slot(whole.thread_id, warm.slot)
    await _remove(store, target)
    if len(staying) == len(whole.kept):
        return
    await _write(desk, target, whole.thread_id, whole.generation + 1, await _facts(desk, whole, staying))
    await store.append(
        warm.lease, [Moved.fact(desk.clock.now())], [], expected_seq=Seq(warm.seq), completed=0, durable=True
    )
    thread.forget()
    await store.release(warm.lease)
    with suppress(ExecutionOwned):  # it has moved all the same, and goes with the next prune
        await _remove(store, warm.slot)


async def copy(desk: Desk, whole: History, target_id: str) -> None:
    """Write a thread anew under another id. Raises UsageError if there is a thread of that id.

    What a process left that died here is no thread yet: it reads as damaged, and goes when the copy is made again.
    """
    store = desk.store
    slot = slots_of(target_id)[0]
    for taken in slots_of(target_id):
        if not await _is_half(store, taken):
            raise UsageError(f"thread {target_id!r} exists already: delete it first, or copy to another")
    await _remove(store, slot)
    await _write(desk, slot, target_id, 1, await _facts(desk, whole, set(whole.kept.values())))


async def _is_half(store: Store, slot: ExecutionId) -> bool:
    """Tell whether an execution lacks some of what it was to be written with; one that is not there lacks all."""
    try:
        return (await store.summary(slot)).seq < (await identity(store, slot)).facts
    except UnknownExecution:
        return True


async def _write(desk: Desk, slot: ExecutionId, thread_id: str, generation: int, facts: list[CheckpointMade]) -> None:
    """Create an execution with these facts, a commit's worth at a time; it reads as damaged until all are there."""
    store = desk.store
    first, told = created(desk.clock.now(), thread_id, generation, 1 + len(facts))
    begin = facts[:CHUNK]
    admission = NEW if len(begin) == len(facts) else Admission(head=1 + len(facts))
    values = [told, *await _values(store, begin)]
    lease = await store.create(slot, desk.owner, [first, *begin], values, admission=admission)
    try:
        for at in range(CHUNK, len(facts), CHUNK):
            events = facts[at : at + CHUNK]
            await store.append(lease, events, await _values(store, events), expected_seq=Seq(1 + at), completed=0)
    finally:
        await store.release(lease)


async def _values(store: Store, facts: Sequence[CheckpointMade]) -> list[EncodedValue]:
    refs = {fact.state for fact in facts if fact.state is not None and not fact.state.inline}
    return [EncodedValue(ref, await store.get(ref)) for ref in refs]


async def _facts(desk: Desk, whole: History, staying: set[Kept]) -> list[CheckpointMade]:
    """Return the facts of a thread anew: checkpoints in the order of their ids, each followed by its writes.

    Writes whose checkpoint is not there stay as well: it may be about to be put.
    """
    facts: list[CheckpointMade] = []
    written: set[bytes] = set()
    spaces: set[str] = set()
    at = desk.clock.now()
    for kept in reversed(whole.newest_first()):
        if kept not in staying:
            continue
        for channel, ref in (await load_body(desk.store, whole.slot, kept)).values.items():
            if not ref.inline and ref.data not in written:
                written.add(ref.data)
                facts.append(value_fact(at, kept.namespace, channel, ref))
        spaces.add(kept.namespace)
        facts.append(replace(kept, spaces=len(spaces), head=None, early=None).fact(at))
        facts += [write.fact(at) for write in whole.writes.get((kept.namespace, kept.checkpoint_id), ())]
    for key, writes in whole.writes.items():
        if key not in whole.kept:
            facts += [write.fact(at) for write in writes]
    return facts


async def delete(desk: Desk, thread: Thread) -> None:
    """Remove a thread altogether, whatever state it is in."""
    await thread.release()
    store = desk.store
    slots: Sequence[ExecutionId] = slots_of(thread.thread_id)
    try:
        current = await current_slot(store, thread.thread_id)
    except (Again, StoreDamaged, StoreIncompatible):
        current = None
    # The one that it lives in goes last: what is left of a move must not come to life.
    for slot in sorted(slots, key=lambda slot: slot == current):
        await _remove(store, slot)


async def _remove(store: Store, slot: ExecutionId) -> None:
    """Remove an execution, taking it from whoever has it; raises ExecutionOwned if its owner does not let go."""
    for left in reversed(range(REMOVE_ATTEMPTS)):
        try:
            await store.remove([slot])
            return
        except ExecutionOwned:
            if not left:
                raise
            with suppress(UnknownExecution, LeaseLost):
                await store.release(await store.acquire(slot, "somebody who removes it", steal=True))
            await asyncio.sleep(REMOVE_PAUSE_SECONDS)
