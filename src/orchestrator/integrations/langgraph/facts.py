"""What a LangGraph thread is in a store: an execution, and the facts in its journal.

A thread is one execution, named by a hash of its id. Each checkpoint, each value of a channel and each pending write
is a ``CheckpointMade`` of its own whose metadata says what it is, and whose ``state`` refers to the value; a put or a
put_writes is one commit. A checkpoint's value holds LangGraph's own fields, its metadata, and references to the
values of its channels, wherever in the journal they came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.events import CheckpointMade, Event, ExecutionCreated
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible
from orchestrator.state.records import decode_value, digest_of, encode_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.ports.store import Store

PIPELINE = "langgraph"
"""What threads are listed under, where a run has its pipeline."""
SMALL = 64
"""Values up to this many encoded bytes stand in each checkpoint that has them; larger ones are referred to."""

_KEY = "langgraph"  # in a fact's metadata: what it is


def slots_of(thread_id: str) -> tuple[ExecutionId, ExecutionId]:
    """Return the two executions that a thread may live in: it moves from one to the other when it is pruned."""
    name = blake2b(thread_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return ExecutionId(f"lg_{name}_a"), ExecutionId(f"lg_{name}_b")


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint as its fact tells it; ``body`` refers to the rest.

    ``spaces`` is how many namespaces of the thread have checkpoints, with this one. ``head`` is the id of the newest
    checkpoint of the namespace where that is another one (whose id is greater, though it came earlier). ``early`` is
    the seq from which on there may be writes for this checkpoint that were recorded before it.
    """

    seq: int
    namespace: str
    checkpoint_id: str
    parent: str | None
    run_id: str | None
    spaces: int
    head: str | None
    early: int | None
    body: ValueRef

    def fact(self, at: float) -> CheckpointMade:
        """Return the fact that holds it."""
        metadata: dict[str, Any] = {
            _KEY: "checkpoint",
            "ns": self.namespace,
            "id": self.checkpoint_id,
            "spaces": self.spaces,
        }
        optional = {"parent": self.parent, "run": self.run_id, "head": self.head, "early": self.early}
        metadata.update({key: value for key, value in optional.items() if value is not None})
        return CheckpointMade(at, "saved", None, metadata, self.body)


@dataclass(frozen=True, slots=True)
class Write:
    """A pending write. ``index`` counts within its task; negative ones are LangGraph's own, and replace each other."""

    seq: int
    namespace: str
    checkpoint_id: str
    task_id: str
    path: str
    index: int
    channel: str
    value: ValueRef

    def fact(self, at: float) -> CheckpointMade:
        """Return the fact that holds it."""
        metadata = {
            _KEY: "write",
            "ns": self.namespace,
            "id": self.checkpoint_id,
            "task": self.task_id,
            "path": self.path,
            "index": self.index,
            "channel": self.channel,
        }
        return CheckpointMade(at, "part", None, metadata, self.value)


@dataclass(frozen=True, slots=True)
class Moved:
    """The thread lives on in the other execution; this one is about to be removed."""

    seq: int

    @staticmethod
    def fact(at: float) -> CheckpointMade:
        """Return the fact that says so."""
        return CheckpointMade(at, "part", None, {_KEY: "moved"}, None)


def value_fact(at: float, namespace: str, channel: str, ref: ValueRef) -> CheckpointMade:
    """Return the fact that keeps the value of a channel in the journal."""
    return CheckpointMade(at, "part", None, {_KEY: "value", "ns": namespace, "channel": channel}, ref)


def parse(execution_id: str, seq: int, event: Event) -> Kept | Write | Moved | None:
    """Return what a fact of a thread's journal tells; None for one that no reader looks for.

    Raises StoreIncompatible for a fact that only a newer version knows.
    """
    if not isinstance(event, CheckpointMade):
        return None
    told = event.metadata
    kind = told.get(_KEY)
    try:
        if kind == "checkpoint" and event.state is not None:
            return Kept(
                seq, told["ns"], told["id"], told.get("parent"), told.get("run"), told["spaces"], told.get("head"),
                told.get("early"), event.state,
            )  # fmt: skip
        if kind == "write" and event.state is not None:
            return Write(
                seq, told["ns"], told["id"], told["task"], told["path"], told["index"], told["channel"], event.state
            )
    except KeyError as error:
        raise StoreDamaged(f"{execution_id}@{seq}", f"a fact of a LangGraph thread lacks {error}") from error
    if kind == "moved":
        return Moved(seq)
    if kind is None or kind == "value":
        return None
    raise StoreIncompatible(f"record {execution_id}@{seq} holds a fact of a LangGraph thread of a newer version")


@dataclass(frozen=True, slots=True)
class Body:
    """The value of a checkpoint.

    ``checkpoint`` is LangGraph's own without the channels' values, ``metadata`` what it was put with, ``values``
    refers to the channels' values; a channel without one is empty.
    """

    checkpoint: dict[str, Any]
    metadata: dict[str, Any]
    values: dict[str, ValueRef]

    def encoded(self) -> EncodedValue:
        """Return it as a value; raises UnstorableValue."""
        return encode_value(
            {
                "checkpoint": self.checkpoint,
                "metadata": self.metadata,
                "values": {channel: tuple(ref) for channel, ref in self.values.items()},
            },
            name="",
        )


async def load_body(store: Store, execution_id: str, kept: Kept) -> Body:
    """Return the value of a checkpoint, verified."""
    name = f"{execution_id}@{kept.seq}"
    told = decode_value(await store.get(kept.body), name=name)
    try:
        values = {channel: ValueRef(*ref) for channel, ref in told["values"].items()}
        return Body(told["checkpoint"], told["metadata"], values)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreDamaged(name, "it is no checkpoint of a LangGraph thread") from error


async def load_value(store: Store, ref: ValueRef, *, name: str) -> Any:
    """Return a channel's or a write's value, verified. ``name`` is how errors call it."""
    return decode_value(await store.get(ref), name=name)


def encode(value: Any, *, name: str) -> EncodedValue:
    """Encode a value: within the fact if it is small, else by digest. Raises UnstorableValue, naming the path."""
    encoded = encode_value(value, name=name)
    if encoded.ref.inline and encoded.ref.size > SMALL:
        payload = encoded.payload
        return EncodedValue(ValueRef(digest_of(payload), len(payload), inline=False), payload)
    return encoded


class Identity(NamedTuple):
    """Which thread an execution is: ``generation`` counts its moves, ``facts`` is how many it was written with."""

    thread_id: str
    generation: int
    facts: int


def created(at: float, thread_id: str, generation: int, facts: int) -> tuple[ExecutionCreated, EncodedValue]:
    """Return the first fact of a thread's execution, and its value; see Identity."""
    told = encode_value({"thread_id": thread_id, "generation": generation, "facts": facts}, name="thread_id")
    return ExecutionCreated(at, PIPELINE, None, told.ref, 0, "manual"), told


async def identity(store: Store, execution_id: ExecutionId) -> Identity:
    """Tell which thread an execution is. Raises UnknownExecution, StoreDamaged."""
    async for commit in store.read(execution_id):
        first = commit.events[0]
        if isinstance(first, ExecutionCreated):
            told: Mapping[str, Any] = decode_value(await store.get(first.inputs), name=f"{execution_id}@1")
            if {"thread_id", "generation", "facts"} <= told.keys():
                return Identity(told["thread_id"], told["generation"], told["facts"])
        break
    raise StoreDamaged(f"{execution_id}@1", "it does not tell which LangGraph thread it is")
