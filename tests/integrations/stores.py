"""Stores put between a saver and its own: one that counts, one that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint

from orchestrator.errors import StoreUnavailable
from orchestrator.integrations.langgraph import OrchestratorSaver
from orchestrator.ports.store import Commit
from tests.integrations.graphs import on

WRITING = ("create", "append", "acquire", "release", "remove")


@dataclass
class Counting:
    """Counts commits read and values fetched, and adds up the bytes of the values and facts written."""

    inner: Any
    commits: int = 0
    fetched: int = 0
    written: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def read(self, execution_id: Any, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        async for commit in self.inner.read(execution_id, newest_first=newest_first):
            self.commits += 1
            yield commit

    async def get(self, ref: Any) -> bytes:
        self.fetched += not ref.inline
        data: bytes = await self.inner.get(ref)
        return data

    async def append(self, lease: Any, events: Any, values: Any, **more: Any) -> Any:
        self.written += sum(len(value.payload) for value in values)
        return await self.inner.append(lease, events, values, **more)


@dataclass
class Failing:
    """Fails at the call ``number`` that writes, before it is done or after; from then on at every call."""

    inner: Any
    number: int
    after: bool
    calls: int = field(default=0)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in WRITING:
            return found

        async def call(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls > self.number or (self.calls == self.number and not self.after):
                raise StoreUnavailable("gone")
            result = await found(*arguments, **more)
            if self.calls == self.number:
                raise StoreUnavailable("gone, and nobody knows whether it was done")
            return result

        return call


async def between(saver: OrchestratorSaver, make: Any) -> Any:
    """Put a store made by ``make(store)`` between an open saver and its store; return it."""
    await saver.aget_tuple(on("no such thread"))
    desk = saver._archive._desk
    assert desk is not None
    made = make(desk.store)
    saver._archive._desk = replace(desk, store=made)
    saver._archive._threads.clear()
    return made


async def put(
    saver: OrchestratorSaver,
    thread: str,
    values: dict[str, Any],
    *,
    namespace: str = "",
    parent: str | None = None,
    changed: set[str] | None = None,
    metadata: dict[str, Any] | None = None,
    version: int = 1,
) -> Any:
    """Put a checkpoint; all channels are of this version but those that did not change, which are of version 1."""
    checkpoint = empty_checkpoint()
    names = set(values) if changed is None else changed
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = {name: version if name in names else 1 for name in values}
    told: Any = metadata or {}
    config = on(thread, checkpoint_ns=namespace, **({} if parent is None else {"checkpoint_id": parent}))
    return await saver.aput(config, checkpoint, told, dict.fromkeys(names, version))


def id_of(config: Any) -> str:
    identifier: str = config["configurable"]["checkpoint_id"]
    return identifier
