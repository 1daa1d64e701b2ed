"""StateManager: the public door to the store."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from orchestrator.core.adapters import Records
from orchestrator.core.checkpoints import Checkpoint, newest_checkpoints
from orchestrator.core.family import parents, with_descendants
from orchestrator.core.ledger import Ledger, no_checkpoint
from orchestrator.core.recovery import results_at
from orchestrator.core.retention import Removal, apply_retention, exceeding
from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.core.verify import verify_store
from orchestrator.domain.events import CheckpointMade
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import CHILD, ExecutionId, checkpoint_id, parse_checkpoint_id
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.errors import NoCheckpoint, OrchestratorError, ResumeError, StoreError, UnknownExecution, UsageError
from orchestrator.settings import STORE_NAMES, Settings, settings_with
from orchestrator.state.leavings import forget
from orchestrator.state.opening import options_of
from orchestrator.state.url import no_such_backend, open_store
from orchestrator.state.valuecodec import ValueCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from orchestrator.core.recorder import Recorder
    from orchestrator.ports.store import ExecutionSummary, Store

_log = logging.getLogger("orchestrator.state_manager")


class StateManager:
    """Lists, keeps and cleans up checkpoints and executions of one store.

    ``Orchestrator().state_manager`` is that of the orchestrator's store. By itself it is made from a URL or, as
    ``backend``, from the name of a store: ``file``, ``memory``, ``postgres`` or ``redis``; without either it takes the
    store that ``Orchestrator()`` finds. Nothing is opened before it is needed. Use it as an async context manager, or
    call ``close``. Raises UsageError for what is no store, or lacks its driver.

    >>> import asyncio
    >>> async def keep() -> object:
    ...     async with StateManager("memory://state-manager") as manager:
    ...         saved = await manager.save_checkpoint("notes", {"page": 17})
    ...         return (await manager.restore_checkpoint(saved))["state"]
    >>> asyncio.run(keep())
    {'page': 17}
    """

    def __init__(
        self, store: str | None = None, *, backend: str | None = None, settings: Settings | None = None
    ) -> None:
        if store is not None and backend is not None:
            raise UsageError("a StateManager is made from a store's URL or from the name of a backend, not from both")
        if backend is not None and backend not in STORE_NAMES:
            raise no_such_backend(backend)
        self._settings = settings_with(backend if store is None else store, settings)
        self._parts: tuple[Records, Ledger] | None = None
        self._is_mine = False

    @classmethod
    def over(cls, records: Records, ledger: Ledger, settings: Settings) -> Self:
        """Return the manager of a store that is open already, and that its opener closes."""
        manager = cls(settings=settings)
        manager._parts = records, ledger
        return manager

    def _open(self) -> tuple[Records, Ledger]:
        if self._parts is None:
            clock = SystemClock()
            store: Store = open_store(self._settings.store, options_of(self._settings, clock, SystemChance()))
            records = Records(store=store, codec=ValueCodec(), clock=clock, retention=self._settings.retention)
            self._parts = records, Ledger(records)
            self._is_mine = True
        return self._parts

    @property
    def _records(self) -> Records:
        return self._open()[0]

    @property
    def _ledger(self) -> Ledger:
        return self._open()[1]

    @property
    def url(self) -> str:
        """The store, as a URL without secrets."""
        return self._records.store.url

    async def close(self) -> None:
        """Close the store, if it was opened here; idempotent."""
        if self._is_mine and self._parts is not None:
            (records, _), self._parts = self._parts, None
            await records.store.close()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    # -- checkpoints ---------------------------------------------------------------------------------------------

    async def list_checkpoints(self, execution_id: str, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the checkpoints of an execution, newest first; empty if it is unknown.

        Each has ``checkpoint_id``, ``execution_id``, ``pipeline_id``, ``timestamp`` (datetime, UTC), ``reason``,
        ``task``, ``completed_count``, ``total_count`` and ``metadata`` (the same facts, and what came with it).
        """
        try:
            summary = await self._records.store.summary(valid_execution_id(execution_id))
        except UnknownExecution:
            return []
        found: list[dict[str, Any]] = []
        async for checkpoint in newest_checkpoints(self._records.store, self._records.codec, summary):
            if limit is not None and len(found) >= limit:
                break
            found.append(checkpoint.to_dict())
        return found

    async def save_checkpoint(
        self, execution_id: str, state: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> str:
        """Keep ``state``, any storable mapping, as a checkpoint of an execution; return ``EXECUTION@SEQ``. Durable.

        An unknown execution is created, without a pipeline. Raises UnstorableValue for what cannot be kept,
        ExecutionOwned while another process is at work on it.
        """
        name = valid_execution_id(execution_id)
        encoded = self._records.codec.encode(dict(state))
        details = dict(metadata or {})
        self._records.codec.encode(details)
        position: list[int] = []

        def record(recorder: Recorder) -> None:
            event = CheckpointMade(self._records.clock.now(), "saved", None, details, encoded.ref)
            recorder.record(event, encoded, durable=True)
            position.append(recorder.state.seq)

        engine = self._ledger.engine(name)
        if engine is not None:
            await engine.call(record)
            return checkpoint_id(name, position[0])
        held = self._ledger.recorder(name)
        recorder = held or await self._borrow(name)
        try:
            record(recorder)
            await recorder.flush()
        finally:
            if held is None:
                await self._ledger.give_back(recorder)
        return checkpoint_id(name, position[0])

    async def _borrow(self, name: ExecutionId) -> Recorder:
        try:
            return await self._ledger.borrow(name)
        except UnknownExecution:
            return await self._ledger.admit(None, "", {}, name, "manual")

    async def restore_checkpoint(self, checkpoint: str) -> dict[str, Any]:
        """Return a checkpoint with what was kept in it: the keys of ``list_checkpoints``, and ``state``.

        ``state`` is what ``save_checkpoint`` was given, the context of a manual checkpoint, else the results of the
        tasks done there (``{"task_results": {...}}``). Also takes an execution id: its newest checkpoint. Raises
        NoCheckpoint if there is none such, StoreDamaged if it is not what was written.
        """
        found = await self._find(checkpoint)
        entry = found.to_dict()
        if found.state is not None:
            entry["state"] = self._records.codec.decode(await self._records.store.get(found.state))
        else:
            store, codec = self._records.store, self._records.codec
            entry["state"] = {"task_results": await results_at(store, codec, found.execution_id, found.seq)}
        return entry

    async def _find(self, checkpoint: str) -> Checkpoint:
        seq: int | None = None
        if "@" in checkpoint:
            name, seq = parse_checkpoint_id(checkpoint)
        else:
            name = valid_execution_id(checkpoint)
        try:
            summary = await self._records.store.summary(name)
        except UnknownExecution as error:
            raise no_checkpoint(name, "there is no such execution in this store") from error
        async for found in newest_checkpoints(self._records.store, self._records.codec, summary):
            if seq is None or found.seq == seq:
                return found
        raise NoCheckpoint(
            f"No resume checkpoint found: {checkpoint!r} is none of execution {name!r}; "
            f"`orchestrator checkpoints {name}` lists them"
        )

    async def delete_checkpoint(self, checkpoint: str) -> bool:
        """Take a checkpoint out of the lists; True if it was there. The execution's facts stay what they are."""
        try:
            found = await self._find(checkpoint)
        except NoCheckpoint:
            return False
        await self._records.store.hide_checkpoint(found.execution_id, found.seq)
        return True

    # -- the store -----------------------------------------------------------------------------------------------

    async def cleanup(
        self,
        older_than: timedelta | float | None = None,
        keep_last: int | None = None,
        *,
        pipeline_id: str | None = None,
        dry_run: bool = False,
    ) -> list[str]:
        """Remove completed executions and return their ids; what can still be resumed is never touched.

        ``older_than`` (a timedelta, or seconds) spares those that ended more recently, ``keep_last`` the newest so
        many of each pipeline; both given, both spare. ``dry_run`` only tells. Interruptible, idempotent.
        """
        doomed = await self._prunable(older_than, keep_last, pipeline_id)
        children = await parents(self._records.store, await self._records.store.summaries()) if doomed else {}
        going = [name for _top, name in with_descendants([each.execution_id for each in doomed], children)]
        if not dry_run and going:
            await self._remove(going)
        return [str(name) for name in going]

    async def _prunable(
        self, older_than: timedelta | float | None, keep_last: int | None, pipeline_id: str | None
    ) -> list[ExecutionSummary]:
        seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
        if seconds is not None and seconds < 0:
            raise UsageError(f"older_than: expected 0 or more, got {seconds} s")
        if keep_last is not None and keep_last < 0:
            raise UsageError(f"keep_last: expected 0 or more, got {keep_last}")
        now = self._records.clock.now()
        completed = await self._records.store.summaries(pipeline_id=pipeline_id, status=ExecutionStatus.COMPLETED)
        if any(CHILD in each.execution_id for each in completed):  # they go with their parents
            children = await parents(self._records.store, await self._records.store.summaries())
            completed = [each for each in completed if each.execution_id not in children]
        seen: dict[str, int] = {}
        doomed = []
        for summary in completed:  # newest first
            seen[summary.pipeline_id] = seen.get(summary.pipeline_id, 0) + 1
            if keep_last is not None and seen[summary.pipeline_id] <= keep_last:
                continue
            if seconds is not None and now - summary.updated_at < seconds:
                continue
            if summary.holder is None or not summary.holder.alive:
                doomed.append(summary)
        return doomed

    async def apply_retention(self, *, dry_run: bool = False) -> list[Removal]:
        """Remove what the configured rules do not keep; return what went, each with its reason.

        ``dry_run`` only tells. Interruptible, idempotent. Raises UsageError for a budget in bytes where the store
        cannot tell sizes.
        """
        records = self._records
        store, rules, now = records.store, records.retention, records.clock.now()
        if dry_run:
            return await exceeding(store, rules, now)
        return await apply_retention(store, rules, now, self._forget)

    async def remove(self, execution_ids: list[str]) -> None:
        """Remove these executions, whatever their status, and all that their steps started.

        Raises UnknownExecution, ExecutionOwned; ResumeError for one that a step of another still needs.
        """
        store = self._records.store
        names = [valid_execution_id(name) for name in execution_ids]
        for name in names:
            await store.summary(name)
        found = {summary.execution_id: summary for summary in await store.summaries()}
        children = await parents(store, found.values())
        for name in names:
            parent = children.get(name)
            if parent is not None and parent not in names and found[parent].status is not ExecutionStatus.COMPLETED:
                raise ResumeError(
                    f"execution {name!r} is kept for {parent!r}, which is {found[parent].status.value}: a resume of "
                    "that one goes on with it; remove that one, and this one goes with it"
                )
        await self._remove([each for _top, each in with_descendants(names, children)])

    async def _remove(self, names: list[ExecutionId]) -> None:
        await self._records.store.remove(names)
        for name in names:
            self._forget(name)

    def _forget(self, name: str) -> None:
        forget(self._settings, name)

    async def verify(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Check the whole store (I2, I3, I9, I10, I11); return what is wrong, one sentence each.

        ``progress`` is told how many executions of how many are done.
        """
        return await verify_store(self._records.store, self._records.codec, progress)

    async def is_healthy(self) -> bool:
        """Tell whether the store answers and can be written: False instead of an error, with the reason logged."""
        try:
            await self._records.store.probe()
        except (StoreError, OrchestratorError) as error:
            _log.warning("the store is not healthy: %s", error)
            return False
        return True

    async def get_statistics(self) -> dict[str, Any]:
        """Return counts (executions, by status, commits, values, blobs, cached results) and sizes in bytes."""
        return {"url": self.url, **await self._records.store.statistics()}
