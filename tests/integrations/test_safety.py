"""Stored bytes run no code, ids and filters are data, damage is told, and what cannot be kept is refused."""

from __future__ import annotations

import pickle
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import ormsgpack
import pytest
from langgraph.types import Command, Interrupt, Send
from pydantic import BaseModel

import orchestrator as orc
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible, UnstorableValue, UsageError
from orchestrator.integrations.langgraph import OrchestratorSaver
from orchestrator.integrations.langgraph.facts import Write, slots_of
from orchestrator.state.records import digest_of
from orchestrator.state.registry import BY_NAME, BY_TYPE
from tests.integrations.graphs import on
from tests.integrations.stores import between, put

HOSTILE_IDS = [
    "", " ", ".", "..", "/etc/passwd", "../../up", "C:\\con", "a\0b", "line\nbreak", "%2e%2e", "' OR 1=1 --", "*",
    "e\u0301", "\u00e9", "\ud800", "\U0001f600", "-rf", "A", "a", "x" * 10_000, "lg_x_a", "__proto__",
]  # fmt: skip


async def test_ids_are_text_of_any_kind(saver: OrchestratorSaver, isolated: Path) -> None:
    for number, text in enumerate(HOSTILE_IDS):
        await put(saver, text, {"n": number}, namespace=f"{text} ns")
        kept = await put(saver, text, {"n": -number})
        await saver.aput_writes(kept, [(f"{text} channel", number)], f"{text} task", f"{text} path")
    for number, text in enumerate(HOSTILE_IDS):
        found = await saver.aget_tuple(on(text, checkpoint_ns=f"{text} ns"))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"n": number}
        found = await saver.aget_tuple(on(text))
        assert found is not None
        assert found.pending_writes == [(f"{text} task", f"{text} channel", number)]
        assert len([each async for each in saver.alist(on(text))]) == 2
    assert {each.config["configurable"]["thread_id"] async for each in saver.alist(None)} == set(HOSTILE_IDS)
    for text in HOSTILE_IDS[::2]:
        await saver.adelete_thread(text)
    assert {each.config["configurable"]["thread_id"] async for each in saver.alist(None)} == set(HOSTILE_IDS[1::2])
    assert list(isolated.iterdir()) == []


async def test_filters_are_compared_as_values(saver: OrchestratorSaver) -> None:
    for number in range(3):
        await put(saver, "t", {}, metadata={"step": number, "x') OR 1=1 --": number, "nothing": None})
    hostile: list[tuple[dict[str, Any], int]] = [
        ({"step": 1}, 1),
        ({"x') OR 1=1 --": 2}, 1),
        ({"step') OR 1=1 --": 1}, 0),
        ({"$.step": 1}, 0),
        ({"step": "1 OR 1=1"}, 0),
        ({"step": 1, "x') OR 1=1 --": 2}, 0),
        ({"missing": None}, 0),
        ({"nothing": None}, 3),
        ({}, 3),
    ]
    for wanted, count in hostile:
        assert len([each async for each in saver.alist(on("t"), filter=wanted)]) == count, wanted
        assert len([each async for each in saver.alist(None, filter=wanted)]) == count, wanted


# -- the shapes of CVE-2025-64439, CVE-2026-28277 and their like ------------------------------------------------------


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import antigravity",)


CONSTRUCTOR = {
    "lc": 2,
    "type": "constructor",
    "id": ["builtins", "exec"],
    "method": [None],
    "args": ["import antigravity"],
    "kwargs": {},
}
EXPLOITS: list[Any] = [
    CONSTRUCTOR,
    {"deep": [{"er": CONSTRUCTOR}]},
    {"lc": 1, "type": "constructor", "id": ["langchain_core", "load", "Serializable"], "kwargs": {}},
    ("json", b'{"lc": 2, "type": "constructor", "id": ["builtins", "exec"], "args": ["import antigravity"]}'),
    pickle.dumps(Bomb()),
    ("msgpack", ormsgpack.packb(["builtins", "exec", "import antigravity"])),
    "{{ ''.__class__ }} ${jndi:ldap://x} !!python/object/apply:exec ['import antigravity']",
]
CALL = ormsgpack.packb(["builtins", "exec", "import antigravity"])
EXTENSIONS = [ormsgpack.packb(ormsgpack.Ext(code, CALL)) for code in range(8)]


async def test_published_exploits_come_back_as_the_data_they_are(near_url: str) -> None:
    async with OrchestratorSaver(near_url) as saver:
        for number, exploit in enumerate(EXPLOITS):
            kept = await put(saver, str(number), {"channel": exploit}, metadata={"told": exploit})
            await saver.aput_writes(kept, [("channel", exploit)], "task")
    async with OrchestratorSaver(near_url) as saver:
        for number, exploit in enumerate(EXPLOITS):
            found = await saver.aget_tuple(on(str(number)))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"channel": exploit}
            assert dict(found.metadata)["told"] == exploit
            assert found.pending_writes == [("task", "channel", exploit)]
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("payload", EXTENSIONS)
async def test_bytes_that_langgraph_would_call_are_refused(near_url: str, payload: bytes) -> None:
    """Somebody who can write to the store, checksums and all, puts LangGraph's own encoding of a call there."""
    async with OrchestratorSaver(near_url) as saver:
        await put(saver, "t", {"n": 1})
        newest = await saver.aget_tuple(on("t"))
        assert newest is not None
        store = await between(saver, lambda store: store)
        slot = slots_of("t")[0]
        lease = await store.acquire(slot, "forger", steal=True)
        value = EncodedValue(ValueRef(digest_of(payload), len(payload), inline=False), payload)
        forged = Write(0, "", newest.checkpoint["id"], "task", "", 0, "channel", value.ref).fact(0.0)
        seq = (await store.summary(slot)).seq
        await store.append(lease, [forged], [value], expected_seq=Seq(seq), completed=0)
        try:
            found = await saver.aget_tuple(on("t"))
        except (StoreDamaged, StoreIncompatible):
            pass
        else:  # one of ours has that number, too: an int, bytes
            assert found is not None
            assert found.pending_writes is not None
            assert type(found.pending_writes[0][2]) in (int, str, bytearray)
    assert "antigravity" not in sys.modules


def test_the_serializer_that_others_may_ask_for_reads_our_bytes_only() -> None:
    saver = OrchestratorSaver("memory://serializer")
    kind, data = saver.serde.dumps_typed({"a": (1, 2)})
    assert saver.serde.loads_typed((kind, data)) == {"a": (1, 2)}
    foreign = [("json", b'{"lc": 2}'), ("pickle", pickle.dumps(Bomb())), *(("msgpack", each) for each in EXTENSIONS)]
    for each in foreign:
        with pytest.raises(StoreIncompatible, match="only our own are read"):
            saver.serde.loads_typed(each)
    assert saver.with_allowlist([("builtins", "exec")]) is saver
    assert "antigravity" not in sys.modules


# -- what is kept, and what is not -----------------------------------------------------------------------------------


@dataclass
class Order:
    number: int
    lines: list[str]


class Person(BaseModel):
    name: str
    age: int = 0


async def test_classes_are_kept_once_they_are_registered(near_url: str) -> None:
    values = {"order": Order(1, ["a"]), "people": [Person(name="Ada")]}
    try:
        async with OrchestratorSaver(near_url) as saver:
            with pytest.raises(UnstorableValue, match=r"order: .*register"):
                await put(saver, "t", values)
            assert await saver.aget_tuple(on("t")) is None
            orc.register(Order, "test.Order")
            orc.register(Person, "test.Person")
            await put(saver, "t", values)
        async with OrchestratorSaver(near_url) as saver:
            found = await saver.aget_tuple(on("t"))
            assert found is not None
            assert found.checkpoint["channel_values"] == values
            forgotten = BY_NAME.pop("test.Order")
            with pytest.raises(StoreIncompatible, match=r"register.*test\.Order"):
                await saver.aget_tuple(on("t"))
            BY_NAME["test.Order"] = forgotten
    finally:
        for cls, name in ((Order, "test.Order"), (Person, "test.Person")):
            BY_NAME.pop(name, None)
            BY_TYPE.pop(cls, None)


async def test_what_cannot_be_kept_is_refused_by_its_path(saver: OrchestratorSaver) -> None:
    with pytest.raises(UnstorableValue) as refused:
        await put(saver, "t", {"items": [{"fine": 1}, {"call": print}]})
    assert refused.value.path == "items[1].call"
    kept = await put(saver, "t", {"items": []})
    with pytest.raises(UnstorableValue, match=r"write to items\[0\]"):
        await saver.aput_writes(kept, [("items", [object()])], "task")
    found = await saver.aget_tuple(on("t"))
    assert found is not None
    assert found.pending_writes == []


async def test_what_langgraph_itself_keeps_comes_back(saver: OrchestratorSaver) -> None:
    values = {
        "interrupt": Interrupt({"ask": 1}, "an id"),
        "send": Send("node", {"arg": (1, 2)}),
        "command": Command(update={"a": 1}, goto=["x"]),
        "deque": deque([1, 2], maxlen=5),
        "set": {1, 2},
    }
    await put(saver, "t", values)
    found = await saver.aget_tuple(on("t"))
    assert found is not None
    assert found.checkpoint["channel_values"] == values
    assert found.checkpoint["channel_values"]["deque"].maxlen == 5


# -- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["vals", "journal"])
async def test_damage_is_told_and_the_other_threads_live(sqlite_url: str, quick_path: Path, table: str) -> None:
    async with OrchestratorSaver(sqlite_url) as saver:
        await put(saver, "t", {"text": "y" * 2_000})
        row = apsw_rows(quick_path, table)[-1]
        await put(saver, "u", {"text": "z" * 3_000})
    changed = bytearray(row[1])
    changed[len(changed) // 2] ^= 1
    key = "digest" if table == "vals" else "position"
    db = apsw.Connection(str(quick_path / "store.db"))
    db.execute(f"UPDATE {table} SET record = ? WHERE {key} = ?", (bytes(changed), row[0]))
    db.close()
    async with OrchestratorSaver(sqlite_url) as saver:
        with pytest.raises(StoreDamaged):
            await saver.aget_tuple(on("t"))
        with pytest.raises(StoreDamaged):
            _ = [each async for each in saver.alist(on("t"))]
        assert await saver.aget_tuple(on("u")) is not None
        async with orc.Orchestrator(sqlite_url) as orchestrator:
            problems = await orchestrator.state_manager.verify()
        assert len(problems) == 1
        assert "damaged record" in problems[0]
        await saver.adelete_thread("t")
        assert await saver.aget_tuple(on("t")) is None


def apsw_rows(folder: Path, table: str) -> list[Any]:
    db = apsw.Connection(str(folder / "store.db"))
    rows = db.execute(f"SELECT {'digest' if table == 'vals' else 'position'}, record FROM {table}").fetchall()
    db.close()
    return rows


async def test_a_thread_is_an_execution_like_others(near_url: str) -> None:
    async with OrchestratorSaver(near_url) as saver, orc.Orchestrator(near_url) as orchestrator:
        kept = await put(saver, "my thread", {"text": "y" * 2_000})
        await saver.aput_writes(kept, [("text", "z" * 2_000)], "task")
        listed = await orchestrator.list_executions()
        assert [(each.execution_id, each.pipeline_id) for each in listed] == [(slots_of("my thread")[0], "langgraph")]
        checkpoints = await orchestrator.state_manager.list_checkpoints(listed[0].execution_id)
        assert [each["reason"] for each in checkpoints] == ["saved", "start"]
        assert checkpoints[0]["metadata"]["id"] == kept["configurable"]["checkpoint_id"]


async def test_a_call_without_a_thread_says_what_to_pass(saver: OrchestratorSaver) -> None:
    nothing: Any = {"configurable": {}}
    with pytest.raises(UsageError, match="thread_id"):
        await saver.aget_tuple(nothing)
    assert ExecutionId("x") == "x"
