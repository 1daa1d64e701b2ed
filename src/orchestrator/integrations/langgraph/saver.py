"""OrchestratorSaver: the checkpointer itself, an archive behind a door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from langgraph.checkpoint.base import BaseCheckpointSaver

from orchestrator.integrations.langgraph.archive import Archive
from orchestrator.integrations.langgraph.door import Door
from orchestrator.integrations.langgraph.known import register_known
from orchestrator.integrations.langgraph.serializer import DataOnly
from orchestrator.settings import Settings, settings_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
    from types import TracebackType

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        DeltaChannelHistory,
    )


class OrchestratorSaver(BaseCheckpointSaver[int]):
    """Keeps LangGraph's threads in a store of ours: ``builder.compile(checkpointer=OrchestratorSaver(url))``.

    ``url`` names the store as everywhere, or is the name of one (None: the one that ``Orchestrator()`` finds);
    ``settings`` are those of the project unless given. Nothing is opened before the first call; use the saver as a
    (sync or async) context manager, or call ``close``. Methods may be called from any thread and any event loop.

    Values are kept by our codec: data only, whatever the bytes in the store. What cannot be kept so is refused with
    UnstorableValue, which names its place; classes of one's own are allowed by ``orchestrator.register``. All methods
    may raise StoreUnavailable, StoreDamaged and StoreIncompatible.
    """

    def __init__(self, url: str | None = None, *, settings: Settings | None = None) -> None:
        super().__init__(serde=DataOnly())
        register_known()
        self._archive = Archive(settings_with(url, settings))
        self._door = Door()

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Return a saver on the store that the settings name (None: those that hold here)."""
        return cls(settings=settings)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:
        """Return self: what may be loaded is what was registered."""
        del extra_allowlist
        return self

    # -- opening and closing -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give all threads back and close the store; idempotent, and the next call opens it again."""
        self._door.call(self._archive.close())
        self._door.close()

    async def aclose(self) -> None:
        """Do what ``close`` does."""
        await self._door.enter(self._archive.close())
        self._door.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    # -- LangGraph's methods -------------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its values and pending writes: the one named, else the newest; None if none."""
        return await self._door.enter(self._archive.get(config))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what ``aget_tuple`` does."""
        return self._door.call(self._archive.get(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints of a thread (config None: of all), newest first; values are loaded one at a time."""
        for whole, kept in await self._door.enter(self._archive.chosen(config, before)):
            if limit is not None and limit <= 0:
                return
            listed = await self._door.enter(self._archive.if_like(whole, kept, config, filter))
            if listed is not None:
                yield listed
                limit = None if limit is None else limit - 1

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Do what ``alist`` does."""
        for whole, kept in self._door.call(self._archive.chosen(config, before)):
            if limit is not None and limit <= 0:
                return
            listed = self._door.call(self._archive.if_like(whole, kept, config, filter))
            if listed is not None:
                yield listed
                limit = None if limit is None else limit - 1

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint, with the values of the channels that changed; one commit, durable on return."""
        return await self._door.enter(self._archive.put(config, checkpoint, metadata, new_versions))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Do what ``aput`` does."""
        return self._door.call(self._archive.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote after a checkpoint; one commit, durable on return."""
        await self._door.enter(self._archive.put_writes(config, writes, task_id, task_path))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what ``aput_writes`` does."""
        self._door.call(self._archive.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread and the values that no other thread or run has."""
        await self._door.enter(self._archive.delete_thread(str(thread_id)))

    def delete_thread(self, thread_id: str) -> None:
        """Do what ``adelete_thread`` does."""
        self._door.call(self._archive.delete_thread(str(thread_id)))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what LangGraph's runs of these ids put, in all threads; looks through all of them."""
        await self._door.enter(self._archive.delete_for_runs(run_ids))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Do what ``adelete_for_runs`` does."""
        self._door.call(self._archive.delete_for_runs(run_ids))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with all its checkpoints; raises UsageError if the target exists."""
        await self._door.enter(self._archive.copy_thread(str(source_thread_id), str(target_thread_id)))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Do what ``acopy_thread`` does."""
        self._door.call(self._archive.copy_thread(str(source_thread_id), str(target_thread_id)))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Leave only the newest checkpoint of each namespace (``keep_latest``), or nothing (``delete``)."""
        await self._door.enter(self._archive.prune(thread_ids, strategy))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Do what ``aprune`` does."""
        self._door.call(self._archive.prune(thread_ids, strategy))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what the ancestors of a checkpoint wrote to these channels, back to the last whole value of each."""
        return await self._door.enter(self._archive.delta_history(config, channels))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Do what ``aget_delta_channel_history`` does."""
        return self._door.call(self._archive.delta_history(config, channels))
