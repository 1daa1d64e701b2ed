"""The archive: LangGraph's checkpoints in and out of a store. All of it runs on one event loop, the door's."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    CheckpointTuple,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.types import ERROR

from orchestrator.core.ledger import describe_owner
from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.errors import StoreDamaged, StoreUnavailable, UnknownExecution, UsageError
from orchestrator.integrations.langgraph import rewriting
from orchestrator.integrations.langgraph.facts import (
    PIPELINE,
    Body,
    Kept,
    Write,
    encode,
    identity,
    load_body,
    load_value,
    value_fact,
)
from orchestrator.integrations.langgraph.reading import PATIENCE, Again, Found, History, current_slot, find, history
from orchestrator.integrations.langgraph.thread import Commit, Desk, Thread, Warm
from orchestrator.state.opening import options_of
from orchestrator.state.url import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, DeltaChannelHistory

    from orchestrator.domain.events import Event
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.values import EncodedValue, ValueRef
    from orchestrator.settings import Settings

WARM_THREADS = 64
"""So many threads at most are kept owned between writes."""


class Archive:
    """What ``OrchestratorSaver`` does, by the same names; see there for the contract of each method."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._desk: Desk | None = None
        self._threads: OrderedDict[str, Thread] = OrderedDict()

    # -- opening and closing -------------------------------------------------------------------------------------

    async def _opened(self) -> Desk:
        if self._desk is None:
            clock, chance = SystemClock(), SystemChance()
            store = open_store(self._settings.store, options_of(self._settings, clock, chance))
            self._desk = Desk(store, clock, chance, f"LangGraph in {describe_owner(clock.now())}")
        return self._desk

    async def _thread(self, thread_id: str) -> Thread:
        desk = await self._opened()
        thread = self._threads.setdefault(thread_id, Thread(desk, thread_id))
        self._threads.move_to_end(thread_id)
        if len(self._threads) > WARM_THREADS:
            for name, other in list(self._threads.items())[: len(self._threads) - WARM_THREADS]:
                if other.idle and other is not thread:
                    del self._threads[name]
                    await other.close()
        return thread

    async def close(self) -> None:
        """See OrchestratorSaver.close."""
        threads, self._threads = self._threads, OrderedDict()
        desk, self._desk = self._desk, None
        for thread in threads.values():
            await thread.close()
        if desk is not None:
            await desk.store.close()

    # -- reading -------------------------------------------------------------------------------------------------

    async def _read(self, thread_id: str, look: Callable[[Desk, ExecutionId], Awaitable[Any]]) -> Any:
        """Return what ``look`` finds in the execution that the thread lives in; None if there is no such thread."""
        desk = await self._opened()
        warm = self._threads.get(thread_id)
        slot = None if warm is None else warm.slot
        for _ in range(PATIENCE):
            try:
                slot = slot or await current_slot(desk.store, thread_id)
                return None if slot is None else await look(desk, slot)
            except (Again, UnknownExecution):
                slot = None
            except StoreDamaged:
                # What is missing may have been removed by somebody who pruned the thread while we looked.
                looked, slot = slot, await current_slot(desk.store, thread_id)
                if looked is None or looked == slot:
                    raise
        raise StoreUnavailable(f"thread {thread_id!r} is being moved all the time; try again")

    async def get(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See OrchestratorSaver.aget_tuple."""
        thread_id, namespace = _place(config)

        async def look(desk: Desk, slot: ExecutionId) -> CheckpointTuple | None:
            found = await find(desk.store, slot, namespace, get_checkpoint_id(config))
            return None if found is None else await self._tuple(desk, slot, config, found)

        done: CheckpointTuple | None = await self._read(thread_id, look)
        return done

    async def _tuple(
        self, desk: Desk, slot: ExecutionId, config: RunnableConfig | None, found: Found, body: Body | None = None
    ) -> CheckpointTuple:
        kept = found.kept
        if body is None:
            body = await load_body(desk.store, slot, kept)
        who = config["configurable"]["thread_id"] if config else (await identity(desk.store, slot)).thread_id
        name = f"{slot}@{kept.seq}"
        values = {
            channel: await load_value(desk.store, ref, name=f"{name}, channel {channel!r}")
            for channel, ref in body.values.items()
        }
        writes = [
            (write.task_id, write.channel, await load_value(desk.store, write.value, name=f"{slot}@{write.seq}"))
            for write in found.writes
        ]
        checkpoint: Any = {**body.checkpoint, "channel_values": values}
        metadata: Any = body.metadata
        parent = None if kept.parent is None else _config(who, kept.namespace, kept.parent)
        return CheckpointTuple(_config(who, kept.namespace, kept.checkpoint_id), checkpoint, metadata, parent, writes)

    async def _histories(self, config: RunnableConfig | None) -> AsyncIterator[History]:
        """Yield the histories of one thread, or of all."""

        async def look(desk: Desk, slot: ExecutionId) -> History:
            return await history(desk.store, slot)

        if config is not None:
            names = [_place(config)[0]]
        else:
            names = await self._names()
        for name in names:
            whole: History | None = await self._read(name, look)
            if whole is not None:
                yield whole

    async def _names(self) -> list[str]:
        """Return the ids of all threads, newest first."""
        desk = await self._opened()
        names: dict[str, None] = {}
        for summary in await desk.store.summaries(pipeline_id=PIPELINE):
            try:
                names[(await identity(desk.store, summary.execution_id)).thread_id] = None
            except UnknownExecution:
                continue
        return list(names)

    async def chosen(self, config: RunnableConfig | None, before: RunnableConfig | None) -> list[tuple[History, Kept]]:
        """Return the checkpoints that a list may tell of, newest first, before their metadata is looked at."""
        namespace = config["configurable"].get("checkpoint_ns") if config else None
        only = get_checkpoint_id(config) if config else None
        limit = get_checkpoint_id(before) if before else None
        chosen = []
        async for whole in self._histories(config):
            for kept in whole.newest_first():
                if namespace is not None and kept.namespace != namespace:
                    continue
                if only is not None and kept.checkpoint_id != only:
                    continue
                if limit is not None and kept.checkpoint_id >= limit:
                    continue
                chosen.append((whole, kept))
        return chosen

    async def if_like(
        self, whole: History, kept: Kept, config: RunnableConfig | None, wanted: Mapping[str, Any] | None
    ) -> CheckpointTuple | None:
        """Return a listed checkpoint if its metadata has the wanted values, compared as values and nothing else.

        None also for one that was removed since it was listed.
        """
        desk = await self._opened()
        try:
            body = await load_body(desk.store, whole.slot, kept)
            if wanted and not all(key in body.metadata and body.metadata[key] == item for key, item in wanted.items()):
                return None
            return await self._tuple(desk, whole.slot, config, whole.of(kept), body)
        except (StoreDamaged, UnknownExecution):
            if await current_slot(desk.store, whole.thread_id) == whole.slot:
                raise
            return None

    async def delta_history(self, config: RunnableConfig, channels: Sequence[str]) -> dict[str, DeltaChannelHistory]:
        """Walk back from a checkpoint's parent; one reading of the thread's facts, whatever the way's length."""
        thread_id, namespace = _place(config)
        told: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}

        async def look(desk: Desk, slot: ExecutionId) -> None:
            whole = await history(desk.store, slot)
            at = whole.find(namespace, get_checkpoint_id(config))
            remaining = set(channels)
            while remaining and at is not None and at.parent is not None:
                at = whole.kept.get((namespace, at.parent))
                if at is None:
                    return
                name = f"{slot}@{at.seq}"
                for write in reversed(whole.of(at).writes):
                    if write.channel in remaining:
                        value = await load_value(desk.store, write.value, name=name)
                        told[write.channel]["writes"].insert(0, (write.task_id, write.channel, value))
                values = (await load_body(desk.store, slot, at)).values
                for channel in remaining & values.keys():
                    told[channel]["seed"] = await load_value(desk.store, values[channel], name=name)
                remaining -= values.keys()

        if channels:
            await self._read(thread_id, look)
        return told

    # -- writing -------------------------------------------------------------------------------------------------

    async def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See OrchestratorSaver.aput."""
        thread_id, namespace = _place(config)
        thread = await self._thread(thread_id)
        parent = get_checkpoint_id(config)
        told: dict[str, Any] = dict(get_serializable_checkpoint_metadata(config, metadata))

        async def put(warm: Warm) -> None:
            desk = await self._opened()
            at = desk.clock.now()
            known = await thread.body_of(warm, namespace, parent) if parent is not None else None
            refs, fresh = _values_of(checkpoint, new_versions, known)
            events: list[Event] = [value_fact(at, namespace, channel, value.ref) for channel, value in fresh]
            own = {key: part for key, part in checkpoint.items() if key != "channel_values"}
            body = Body(own, told, refs)
            encoded = body.encoded()
            identifier = checkpoint["id"]
            head = await thread.head(warm, namespace)
            kept = Kept(
                seq=thread.next_seq(warm) + len(events),
                namespace=namespace,
                checkpoint_id=identifier,
                parent=parent,
                run_id=_text(told.get("run_id")),
                spaces=await thread.spaces(warm) + (head is None),
                head=head.checkpoint_id if head is not None and head.checkpoint_id > identifier else None,
                early=await thread.early_of(warm, namespace, identifier),
                body=encoded.ref,
            )
            events.append(kept.fact(at))
            await thread.commit(warm, Commit(events, [*(value for _, value in fresh), encoded], kept, body))

        await thread.owned(put)
        return _config(config["configurable"]["thread_id"], namespace, checkpoint["id"])

    async def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> None:
        """See OrchestratorSaver.aput_writes."""
        if not writes:
            return
        thread_id, namespace = _place(config)
        identifier = config["configurable"]["checkpoint_id"]
        thread = await self._thread(thread_id)
        encoded = [
            (channel, WRITES_IDX_MAP.get(channel, index), encode(_writable(channel, value), name=f"write to {channel}"))
            for index, (channel, value) in enumerate(writes)
        ]

        async def put(warm: Warm) -> None:
            desk = await self._opened()
            at = desk.clock.now()
            seq = thread.next_seq(warm)
            facts = [
                Write(seq + offset, namespace, identifier, task_id, task_path, index, channel, value.ref)
                for offset, (channel, index, value) in enumerate(encoded)
            ]
            events: list[Event] = [fact.fact(at) for fact in facts]
            values = [value for _, _, value in encoded if not value.ref.inline]
            await thread.commit(warm, Commit(events, values))
            await thread.note_writes(warm, facts)

        await thread.owned(put)

    async def _rewrite(self, thread_id: str, choose: Callable[[Desk, History], Awaitable[set[Kept]]]) -> None:
        """Leave of a thread only the checkpoints that ``choose`` returns."""
        thread = await self._thread(thread_id)

        async def rewrite(warm: Warm) -> None:
            desk = await self._opened()
            if warm.lease is not None:
                whole = await history(desk.store, warm.slot)
                await rewriting.keep_only(desk, thread, warm, whole, await choose(desk, whole))

        await thread.owned(rewrite)

    async def delete_thread(self, thread_id: str) -> None:
        """See OrchestratorSaver.adelete_thread."""
        thread = await self._thread(thread_id)
        await rewriting.delete(await self._opened(), thread)

    async def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See OrchestratorSaver.adelete_for_runs."""
        doomed = set(run_ids)

        async def choose(_desk: Desk, whole: History) -> set[Kept]:
            return {kept for kept in whole.kept.values() if kept.run_id not in doomed}

        for name in await self._names() if doomed else ():
            await self._rewrite(name, choose)

    async def copy_thread(self, source: str, target: str) -> None:
        """See OrchestratorSaver.acopy_thread."""

        async def look(desk: Desk, slot: ExecutionId) -> bool:
            await rewriting.copy(desk, await history(desk.store, slot), target)
            return True

        if source != target:
            await self._read(source, look)

    async def prune(self, thread_ids: Sequence[str], strategy: str) -> None:
        """See OrchestratorSaver.aprune."""
        if strategy not in ("keep_latest", "delete"):
            raise UsageError(f"unknown strategy {strategy!r} (there are keep_latest, delete)")

        async def choose(desk: Desk, whole: History) -> set[Kept]:
            return await rewriting.latest(desk.store, whole)

        for thread_id in map(str, thread_ids):
            if strategy == "delete":
                await self.delete_thread(thread_id)
            else:
                await self._rewrite(thread_id, choose)


_ABSENT = object()


def _values_of(
    checkpoint: Checkpoint, new_versions: ChannelVersions, known: Body | None
) -> tuple[dict[str, ValueRef], list[tuple[str, EncodedValue]]]:
    """Return references to the values of all channels, and those values that are to be written.

    A channel that did not change has the value that the parent (``known``) refers to.
    """
    given = checkpoint["channel_values"]
    refs: dict[str, ValueRef] = {}
    fresh: list[tuple[str, EncodedValue]] = []
    for channel, version in checkpoint["channel_versions"].items():
        unchanged = (
            channel not in new_versions
            and known is not None
            and known.checkpoint["channel_versions"].get(channel, _ABSENT) == version
        )
        if unchanged and known is not None:
            if channel in known.values:
                refs[channel] = known.values[channel]
        elif channel in given:
            value = encode(given[channel], name=channel)
            refs[channel] = value.ref
            if not value.ref.inline:
                fresh.append((channel, value))
    return refs, fresh


def _writable(channel: str, value: Any) -> Any:
    """Return what is kept of a write: of an error, which LangGraph only shows, its text, as its own savers do."""
    return repr(value) if channel == ERROR and isinstance(value, BaseException) else value


def _place(config: RunnableConfig) -> tuple[str, str]:
    """Return the thread's id and the namespace."""
    configurable = config.get("configurable") or {}
    if "thread_id" not in configurable:
        raise UsageError('a checkpointer needs a thread: pass config={"configurable": {"thread_id": "..."}}')
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns") or "")


def _config(thread_id: Any, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
