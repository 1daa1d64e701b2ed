"""Executions in a file: what was written is read, and anything else is refused with its place."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.events import DefinitionChanged, Event, ResultSet, TaskReused
from orchestrator.domain.ids import ExecutionId, Seq, TaskId
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import StoreDamaged, StoreFull, StoreIncompatible, StoreUnavailable
from orchestrator.ports.store import Commit, Signal, Store
from orchestrator.state import archive
from orchestrator.state.archive import FRAME, HEAD, ArchiveWriter, Tag
from orchestrator.state.encryption import Encryption
from orchestrator.state.memory import MemoryStore
from orchestrator.state.parcels import Manifest, Parcel, StoredParcel, survey
from orchestrator.state.records import PLAIN, Sealing
from orchestrator.state.unpacking import ArchiveReader, Contents
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.stores.facts import AT, checkpoint, completed, created, finished, signal, value

KEYED = Encryption({"k": bytes(32)})
NAMES = ("first", "second", "third")


@pytest.fixture
async def store() -> Store:
    made = MemoryStore(clock=ManualClock(), chance=SeededChance())
    for number, name in enumerate(NAMES):
        values = [value(1200, number), value(1300, number)]
        lease = await made.create(ExecutionId(name), "me", [created(name)], [])
        facts = [completed("a", values[0].ref), completed("b", values[1].ref)]
        await made.append(lease, facts, values, expected_seq=Seq(1), completed=2)
        await made.append(lease, [checkpoint({"text": name * 3})], [], expected_seq=Seq(3), completed=2)
        await made.append(lease, [finished()], [], expected_seq=Seq(4), completed=2)
        await made.hide_checkpoint(ExecutionId(name), Seq(4))
    for number in range(2):
        await made.send(ExecutionId(NAMES[-1]), signal(f"s{number}", value(2000, number)))
    return made


async def parcels(store: Store) -> list[StoredParcel]:
    return [StoredParcel(store, await survey(store, ExecutionId(name))) for name in NAMES]


async def written(store: Store, sealing: Sealing = PLAIN) -> bytes:
    file = io.BytesIO()
    writer = ArchiveWriter(file, sealing)
    for parcel in await parcels(store):
        await writer.add(parcel)
    writer.close()
    assert writer.size == len(file.getvalue())
    return file.getvalue()


def read(data: bytes, sealing: Sealing = PLAIN) -> Contents:
    return ArchiveReader(io.BytesIO(data), sealing, "it.orc").contents()


def names(contents: Contents) -> list[str]:
    return [parcel.manifest.execution_id for parcel in contents.parcels]


async def content(parcel: Parcel) -> tuple[Manifest, list[Signal], list[EncodedValue | Commit]]:
    return parcel.manifest, [one async for one in parcel.mail()], [item async for item in parcel.items()]


def frames(data: bytes) -> list[bytes]:
    """Take a file apart: its head, and each frame."""
    parts, at = [data[: HEAD.size]], HEAD.size
    while at < len(data):
        _tag, length = FRAME.unpack_from(data, at)
        parts.append(data[at : at + FRAME.size + length])
        at += FRAME.size + length
    return parts


@pytest.mark.parametrize("sealing", [PLAIN, KEYED], ids=["plain", "encrypted"])
async def test_what_is_written_is_read(store: Store, sealing: Sealing) -> None:
    contents = read(await written(store, sealing), sealing)
    assert contents.refused == []
    assert [await content(parcel) for parcel in contents.parcels] == [await content(p) for p in await parcels(store)]
    assert [await content(parcel) for parcel in contents.parcels]  # as often as wanted


async def test_the_values_of_resumes_and_forks_go_along(store: Store) -> None:
    definition, reused, given = (value(1400 + number) for number in range(3))
    events: list[Event] = [
        created(),
        DefinitionChanged(AT, definition.ref, value(10).ref, 5, {}, "edited.yaml", "me"),
        TaskReused(AT, TaskId("c"), reused.ref, bytes(32), "first@2"),
        ResultSet(AT, TaskId("d"), given.ref, "me", "so be it"),
    ]
    await store.create(ExecutionId("edited"), "me", events, [definition, reused, given])
    parcel = StoredParcel(store, await survey(store, ExecutionId("edited")))
    file = io.BytesIO()
    writer = ArchiveWriter(file, PLAIN)
    await writer.add(parcel)
    writer.close()
    (found,) = read(file.getvalue()).parcels
    assert await content(found) == await content(parcel)
    assert [item async for item in found.items() if not isinstance(item, Commit)] == [definition, reused, given]


async def test_a_file_without_executions_is_whole() -> None:
    file = io.BytesIO()
    ArchiveWriter(file, PLAIN).close()
    assert read(file.getvalue()) == Contents([], [])


# -- refused -------------------------------------------------------------------------------------------------------


async def test_a_file_cut_anywhere_gives_only_what_is_whole(store: Store) -> None:
    data = await written(store)
    ends = list(itertools.accumulate(map(len, frames(data))))
    whole = [end for end, frame in zip(ends, frames(data), strict=True) if frame[0] == Tag.END]
    with pytest.raises(StoreDamaged, match="no file that `orchestrator export` wrote"):
        read(b"")
    for length in range(1, HEAD.size):
        with pytest.raises(StoreDamaged, match=r"it\.orc: truncated: it ends at byte"):
            read(data[:length])
    near = {end + step for end in ends for step in range(-2, 3)}
    for length in sorted({*range(HEAD.size, len(data), 17), *near} & {*range(HEAD.size, len(data))}):
        contents = read(data[:length])
        assert names(contents) == list(NAMES[: sum(end <= length for end in whole)])
        assert contents.refused
        assert "truncated" in str(contents.refused[0].error)


@pytest.mark.parametrize("sealing", [PLAIN, KEYED], ids=["plain", "encrypted"])
async def test_a_changed_bit_costs_one_execution_and_is_told(store: Store, sealing: Sealing) -> None:
    data = await written(store, sealing)
    expected = [await content(parcel) for parcel in await parcels(store)]
    ends = list(itertools.accumulate(map(len, frames(data))))
    for bit in random.Random(1).sample(range(len(data) * 8), 800):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            contents = read(bytes(changed), sealing)
        except (StoreDamaged, StoreIncompatible):
            assert bit // 8 < ends[1]
            continue
        assert contents.refused, bit
        assert all(str(refused.error).find("it.orc") > 0 for refused in contents.refused)
        assert all([await content(parcel) in expected for parcel in contents.parcels])
        # A changed tag or length leaves open where the next part begins; anything else costs one execution.
        if bit // 8 >= HEAD.size and bit // 8 - max(end for end in [0, *ends] if end <= bit // 8) >= FRAME.size:
            assert len(contents.parcels) >= 2


def without(parts: list[bytes], at: int) -> list[bytes]:
    return parts[:at] + parts[at + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: without(parts, 4),
        lambda parts: [*parts[:4], parts[4], *parts[4:]],
        lambda parts: [*parts[:3], parts[4], parts[3], *parts[5:]],
        lambda parts: parts[:1] + parts[8:] + parts[1:8],
        lambda parts: without(parts, 7),
        lambda parts: parts[:-1],
        lambda parts: [*parts, parts[-1]],
        lambda parts: [*parts, b"more"],
        lambda parts: [*parts, b"\x01" + bytes(40)],
        lambda parts: [parts[0][:-1] + b"?", *parts[1:]],
    ],
    ids=["missing", "twice", "swapped", "turned", "endless", "unclosed", "closed twice", "more", "frame", "other id"],
)
async def test_parts_that_are_not_where_they_were(store: Store, change: Callable[[list[bytes]], list[bytes]]) -> None:
    parts = frames(await written(store))
    assert [part[0] for part in parts[1:8]] == [Tag.MANIFEST, Tag.COMMIT, Tag.VALUE, Tag.VALUE, *[Tag.COMMIT] * 3]
    contents = read(b"".join(change(parts)))
    assert contents.refused
    good = [await content(parcel) for parcel in await parcels(store)]
    assert all([await content(parcel) in good for parcel in contents.parcels])


async def test_parts_of_another_file_do_not_fit(store: Store) -> None:
    one, two = frames(await written(store)), frames(await written(store))
    contents = read(b"".join([*one[:5], *two[5:]]))
    assert names(contents) == []
    assert contents.refused[0].execution_id == "first"


async def test_a_foreign_file_and_a_newer_one(store: Store) -> None:
    with pytest.raises(StoreDamaged, match="no file that `orchestrator export` wrote"):
        read(b"SQLite format 3\0" * 9)
    data = bytearray(await written(store))
    data[8] = 3
    with pytest.raises(StoreIncompatible, match=r"it\.orc has format 3, and this version reads up to format 2"):
        read(bytes(data))


async def test_keys_that_are_missing_or_not_wanted(store: Store) -> None:
    with pytest.raises(StoreIncompatible, match="is encrypted, and no keys are configured"):
        read(await written(store, KEYED))
    with pytest.raises(StoreIncompatible, match="is not encrypted"):
        read(await written(store), KEYED)
    with pytest.raises(StoreIncompatible, match="with the key 'k', and the keys at hand are other"):
        read(await written(store, KEYED), Encryption({"other": bytes(32)}))


class _Lying:
    """A parcel whose content is not what its manifest says; sealed by somebody who can."""

    def __init__(self, parcel: Parcel, change: Callable[[Manifest, list[EncodedValue | Commit]], None]) -> None:
        self._parcel = parcel
        self._change = change
        self.manifest = parcel.manifest

    def mail(self) -> object:
        return self._parcel.mail()

    async def items(self) -> object:
        items = [item async for item in self._parcel.items()]
        self._change(self.manifest, items)
        for item in items:
            yield item


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _m, items: items.pop(), "first is not what was announced"),
        (lambda _m, items: items.pop(1), "value .* is missing before it"),
        (lambda _m, items: items.pop(0), "facts from 2 on stand where fact 1 belongs"),
        (lambda _m, items: items.append(items[-1]), "facts from 5 on stand where fact 6 belongs"),
        (lambda _m, items: items.insert(1, items[1]._replace(payload=b"other")), "does not have the digest"),
        (lambda _m, items: items.append(items[-1]._replace(events=[])), "facts from 5 on"),
        (lambda _m, items: items.__setitem__(0, items[0]._replace(completed=9)), "is not what was announced"),
    ],
)
async def test_content_that_contradicts_itself(store: Store, change: Callable[..., None], reason: str) -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(file, PLAIN)
    first, second, _ = await parcels(store)
    await writer.add(_Lying(first, change))  # type: ignore[arg-type]
    await writer.add(second)
    writer.close()
    contents = read(file.getvalue())
    assert names(contents) == ["second"]
    ((name, error),) = contents.refused
    assert name == "first"
    with pytest.raises(StoreDamaged, match=reason):
        raise error


async def test_a_signal_among_the_facts_is_damage(store: Store) -> None:
    class Confused(_Lying):
        async def mail(self) -> object:
            writer._frame(*archive.pack_item(Commit(Seq(1), [created("first")], 0)))
            yield signal()

    file = io.BytesIO()
    writer = ArchiveWriter(file, PLAIN)
    await writer.add(Confused((await parcels(store))[0], lambda *_: None))  # type: ignore[arg-type]
    writer.close()
    ((name, error),) = read(file.getvalue()).refused
    assert (name, str(error).endswith("a signal stands among the facts")) == ("first", True)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc0", b"\x90", b"\x97" + b"\x01" * 7, b"\x91" * 500, archive.pack_manifest(
        Manifest(ExecutionId("../x"), "p", 1, 1, (), False, b""))],
)  # fmt: skip
def test_a_manifest_that_is_none(payload: bytes) -> None:
    with pytest.raises(StoreDamaged, match="no manifest of an execution"):
        archive.unpack_manifest(payload, "it.orc, byte 25")


async def test_one_that_cannot_be_read_on_is_abandoned_and_the_next_ones_are_good(store: Store) -> None:
    def fail(_manifest: Manifest, _items: list[EncodedValue | Commit]) -> None:
        raise StoreDamaged("value 12", "missing")

    file = io.BytesIO()
    writer = ArchiveWriter(file, PLAIN)
    first, second, _ = await parcels(store)
    with pytest.raises(StoreDamaged, match="value 12"):
        await writer.add(_Lying(first, fail))  # type: ignore[arg-type]
    await writer.add(second)
    writer.close()
    contents = read(file.getvalue())
    assert names(contents) == ["second"]
    assert [refused.execution_id for refused in contents.refused] == ["first"]


async def test_a_full_disk_is_told_as_such(store: Store) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StoreFull, match="No space left"):
        ArchiveWriter(full, PLAIN)
    with io.BytesIO() as file:
        writer = ArchiveWriter(file, PLAIN)

        def broken(_data: object) -> int:
            raise OSError(5, "Input/output error")

        file.write = broken  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            await writer.add((await parcels(store))[0])
