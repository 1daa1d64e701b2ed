"""SQLite stores on disks, in folders and beside programs that do not behave."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import pytest

from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import (
    ExecutionOwned,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreIncompatible,
    StoreUnavailable,
    UnknownExecution,
)
from orchestrator.ports.store import CacheEntry, Lease, Store
from orchestrator.state.sqlite import SqliteStore, connection, database, journal
from orchestrator.state.sqlite.connection import FORMAT
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.stores.facts import (
    AT,
    add,
    admit,
    claimed,
    commits,
    completed,
    created,
    facts,
    finished,
    value,
)

X = ExecutionId("x")
Open = Callable[..., SqliteStore]
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, and give files away")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.db"


@pytest.fixture
def opened(path: Path, clock: ManualClock) -> Iterator[Open]:
    chance = SeededChance()
    handles: list[SqliteStore] = []

    def one(at: Path = path, *, durable: bool = True) -> SqliteStore:
        handles.append(SqliteStore(at, clock=clock, chance=chance, durable=durable))
        return handles[-1]

    yield one
    for handle in handles:
        for execution_id in list(handle._held):
            handle._let_go(execution_id)
        handle._db.close()
        if handle._keeper_db is not None:
            handle._keeper_db.close()


def sql(path: Path, statement: str, *bindings: object) -> list[tuple[object, ...]]:
    db = apsw.Connection(str(path))
    try:
        return [tuple(row) for row in db.execute(statement, bindings)]
    finally:
        db.close()


def blobs(path: Path) -> list[Path]:
    return sorted(one for one in path.parent.rglob("store.db-blobs/*/*") if one.is_file())


def age(file: Path, seconds: float = 100_000) -> None:
    os.utime(file, (time.time() - seconds, time.time() - seconds))


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_files_are_private_under_any_umask(opened: Open, path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = opened()
        await add(store, await admit(store), 1, values=[value(200_000)])
        store._keeper()
    finally:
        os.umask(before)
    found = [path.parent, *path.parent.rglob("*")]
    assert len(found) >= 8  # folder, database, wal, shm, locks and one lock, blobs and folder and one blob
    for entry in found:
        assert stat.S_IMODE(entry.stat().st_mode) == (0o700 if entry.is_dir() else 0o600), entry


async def test_a_folder_that_everybody_may_write_to_is_refused(opened: Open, path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="everybody"):
        opened()
    assert not path.exists()
    path.parent.chmod(0o1777)
    await admit(opened())


@ROOT
async def test_the_store_of_another_user_is_refused(opened: Open, path: Path) -> None:
    await opened().close()
    os.chown(path, 12345, -1)
    with pytest.raises(StoreUnavailable, match="12345"):
        opened()


@pytest.mark.parametrize("how", ["deleted", "replaced", "folder moved"])
async def test_a_store_gone_under_a_writer_is_noticed(opened: Open, path: Path, clock: ManualClock, how: str) -> None:
    store = opened()
    lease = await admit(store)
    await add(store, lease, 1)
    if how == "deleted":
        path.unlink()
    elif how == "replaced":
        shutil.copy(path, path.with_name("copy.db"))
        path.with_name("copy.db").replace(path)
    else:
        path.parent.rename(path.parent.with_name("elsewhere"))
    clock.advance(1)
    for _ in range(2):  # and not forgotten
        with pytest.raises(StoreDamaged, match="while it was in use"):
            await add(store, lease, 2)
    with pytest.raises(StoreDamaged):
        await store.probe()


async def test_a_path_of_any_characters(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "sp ace ?#%41'\"ü" / "st?ore&mode=ro#.db"
    store = opened(path)
    await admit(store)
    assert path.exists()
    assert await facts(opened(path)) == [created()]


# -- what is not ours -------------------------------------------------------------------------------------------------


async def test_a_foreign_database_is_refused_and_left_as_it_is(opened: Open, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    sql(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(StoreIncompatible, match="no store of this program"):
        opened()
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["store.db"]


@pytest.mark.parametrize("version", [0, FORMAT + 1, 99])
async def test_another_format_is_refused_and_left_as_it_is(opened: Open, path: Path, version: int) -> None:
    store = opened()
    await admit(store)
    await store.close()
    sql(path, f"PRAGMA user_version = {version}")
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    with pytest.raises(StoreIncompatible, match=f"format {version}"):
        opened()
    assert path.read_bytes() == before


def _formats(monkeypatch: pytest.MonkeyPatch, *migrations: str) -> None:
    """Give the formats that follow the present one, by the SQL that leads to each."""
    made = {f"migrate-{number}.sql": sql for number, sql in enumerate(migrations, FORMAT)}
    known = connection._sql
    monkeypatch.setattr(connection, "FORMAT", FORMAT + len(migrations))
    monkeypatch.setattr(connection, "MIGRATIONS", dict(enumerate(made, FORMAT)))
    monkeypatch.setattr(connection, "_sql", lambda name: made.get(name) or known(name))


async def test_an_older_format_is_migrated(opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = await admit(opened())
    _formats(monkeypatch, "CREATE TABLE two (x)", "CREATE TABLE three (x); INSERT INTO three VALUES (3)")
    store = opened()
    assert sql(path, "PRAGMA user_version") == [(FORMAT + 2,)]
    assert sql(path, "SELECT x FROM three") == [(3,)]
    assert (await store.summary(lease.execution_id)).seq == 1
    opened()  # and once only


async def test_a_migration_that_fails_changes_nothing(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await admit(opened())
    _formats(monkeypatch, "CREATE TABLE two (x); INSERT INTO nowhere VALUES (1)")
    with pytest.raises(StoreIncompatible, match="nowhere"):
        opened()
    assert sql(path, "PRAGMA user_version") == [(FORMAT,)]
    assert sql(path, "SELECT name FROM sqlite_schema WHERE name = 'two'") == []
    _formats(monkeypatch)
    assert (await opened().summary(lease.execution_id)).seq == 1


KILLED_MIGRATION = """
import os, signal, sys
from pathlib import Path
import apsw
from orchestrator.state.sqlite import connection

def register(db):
    db.create_scalar_function("die", lambda: os.kill(os.getpid(), signal.SIGKILL), 0)

apsw.connection_hooks.append(register)
known = connection._sql
connection._sql = lambda name: known(name) + ("; SELECT die();" if name == "migrate-2.sql" else "")
connection.connect(Path(sys.argv[1]), durable=True)
"""


async def test_a_migration_that_is_killed_is_made_again(opened: Open, path: Path) -> None:
    shutil.copytree(Path(__file__).parent.parent / "golden" / "format1", path.parent)
    path.parent.chmod(0o700)
    path.chmod(0o600)
    killed = subprocess.run([sys.executable, "-c", KILLED_MIGRATION, str(path)], check=False)
    assert killed.returncode == -9
    assert sql(path, "PRAGMA user_version") == [(2,)]
    assert sql(path, "SELECT name FROM sqlite_schema WHERE name LIKE 'cache%'") == []
    store = opened()
    assert sql(path, "PRAGMA user_version") == [(FORMAT,)]
    assert "golden" in {one.execution_id for one in await store.summaries()}
    assert await store.check() == []


async def test_who_knows_an_older_format_lets_no_entry_of_the_cache_outlive_its_execution(
    opened: Open, path: Path
) -> None:
    store = opened()
    await store.release(await admit(store))
    entry = CacheEntry(bytes(32), AT, "x@1", value(10).ref)
    await store.remember(X, entry)
    old = connection.connect(path, durable=True)  # as every version has opened it
    old.execute("DELETE FROM executions WHERE execution_id = 'x'")
    old.close()
    assert await store.recall(entry.fingerprint) is None
    assert sql(path, "SELECT count(*) FROM cache") == [(0,)]


async def test_only_the_entries_of_the_cache_do_without_fsync(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    lease = await admit(store)
    seen: list[object] = []

    def setting(db: apsw.Connection, *, durable: bool) -> None:
        seen.append(durable)
        connection.set_durable(db, durable=durable)

    def committed() -> bool:
        seen.append("commit")
        return False

    monkeypatch.setattr(database, "set_durable", setting)
    store._db.set_commit_hook(committed)
    await store.remember(X, CacheEntry(bytes(32), AT, "x@1", value(10).ref))
    await add(store, lease, 1, values=[value(2000)])
    assert seen == [False, "commit", True, "commit"]
    assert store._db.pragma("synchronous") == 2
    store._db.set_commit_hook(None)
    store._db.execute("DROP TABLE cache")
    with pytest.raises(StoreIncompatible):
        await store.remember(X, CacheEntry(bytes(32), AT, "x@1", value(10).ref))
    assert store._db.pragma("synchronous") == 2


async def test_a_damaged_entry_of_the_cache_is_told_and_can_be_replaced(opened: Open, path: Path) -> None:
    store = opened()
    await admit(store)
    entry = CacheEntry(bytes(32), AT, "x@1", value(10).ref)
    await store.remember(X, entry)
    sql(path, "UPDATE cache SET record = zeroblob(60)")
    with pytest.raises(StoreDamaged, match=f"cache entry {entry.fingerprint.hex()}"):
        await store.recall(entry.fingerprint)
    await store.remember(X, entry)
    assert await store.recall(entry.fingerprint) == entry


async def test_a_store_without_its_tables_is_of_another_format(opened: Open, path: Path) -> None:
    store = opened()
    await admit(store)
    sql(path, "DROP TABLE journal")
    with pytest.raises(StoreIncompatible, match="journal"):
        await store.summary(X)


async def test_a_file_that_is_no_database_is_damaged(opened: Open, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"this is not a database, however long one looks at it" * 100)
    with pytest.raises(StoreDamaged):
        opened()


@pytest.mark.parametrize("durable", [True, False])
async def test_settings_are_those_that_durability_needs(opened: Open, durable: bool) -> None:
    store = opened(durable=durable)
    for db in (store._db, store._keeper()):
        assert db.pragma("journal_mode") == "wal"
        assert db.pragma("synchronous") == (2 if durable else 1)
        assert db.pragma("mmap_size") in (0, None)
        assert db.pragma("foreign_keys") == 1
        assert db.pragma("trusted_schema") == 0


# -- locks and space --------------------------------------------------------------------------------------------------


async def test_a_lock_of_another_program_is_waited_for_with_a_bound(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 50)
    store = opened()
    lease = await admit(store)
    blocker = apsw.Connection(str(path))
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked by another program"):
        await add(store, lease, 1)
    with pytest.raises(StoreUnavailable, match="locked by another program"):
        await add(store, lease, 1, finished(), values=[value(2000)])
    with pytest.raises(StoreUnavailable):
        store.renew(lease)
    assert await facts(store) == [created()]
    blocker.execute("ROLLBACK")
    blocker.close()
    assert await add(store, lease, 1) == 2
    store.renew(lease)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def fill(store: SqliteStore, lease: Lease, size: int, kept: list[EncodedValue]) -> None:
    for seq in range(1, 20_000):
        one = value(size, seed=seq)
        await add(store, lease, seq, completed(f"task {seq}", one.ref), values=[one])
        kept.append(one)


@ROOT
@pytest.mark.chaos
@pytest.mark.parametrize("size", [20, 3000, 200_000], ids=["facts", "values", "blobs"])
async def test_a_full_disk_ends_the_store_and_loses_nothing(opened: Open, tmp_path: Path, size: int) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs") as folder:
        store = opened(folder / "store.db")
        lease = await admit(store)
        kept: list[EncodedValue] = []
        with pytest.raises(StoreFull):
            await fill(store, lease, size, kept)
        if size < 200_000:
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await add(store, lease, len(kept) + 1)
        await store.close()
        subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
        again = opened(folder / "store.db")
        found = await facts(again)
        assert found[: len(kept) + 1] == [
            created(),
            *(completed(f"task {n}", one.ref) for n, one in enumerate(kept, 1)),
        ]
        for one in kept:
            assert await again.get(one.ref) == one.payload
        lease = await again.acquire(X, "heir")
        await add(again, lease, len(found), finished())
        assert await again.check() == []
        again._db.close()


@ROOT
@pytest.mark.chaos
async def test_a_full_disk_refuses_a_new_store(opened: Open, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs") as folder:
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        with pytest.raises(StoreFull):
            opened(folder / "store.db")


@ROOT
@pytest.mark.chaos
@pytest.mark.parametrize("exists", [True, False])
async def test_a_read_only_folder_is_refused(opened: Open, tmp_path: Path, exists: bool) -> None:
    source = tmp_path / "source"
    if exists:
        await opened(source / "store.db").close()
    else:
        source.mkdir(mode=0o700)
    with mounted(tmp_path / "read-only", "--bind", "-o", "ro", str(source)) as folder, pytest.raises(StoreUnavailable):
        await admit(opened(folder / "store.db"))


# -- damage -----------------------------------------------------------------------------------------------------------


async def filled(store: Store) -> None:
    for name in ("x", "y"):
        lease = await admit(store, name)
        for seq in range(1, 6):
            await add(store, lease, seq, claimed(f"{name}{seq}"))
        await store.release(lease)


@pytest.mark.parametrize("seq", [1, 3, 6])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_damaged_record_is_named_and_others_stay_readable(
    opened: Open, path: Path, seq: int, newest_first: bool
) -> None:
    store = opened()
    await filled(store)
    [(record,)] = sql(path, "SELECT record FROM journal WHERE position = 1 << 32 | ?", seq)
    assert isinstance(record, bytes)
    for at in (0, 5, 20, len(record) - 1):
        changed = bytearray(record)
        changed[at] ^= 0x10
        sql(path, "UPDATE journal SET record = ? WHERE position = 1 << 32 | ?", bytes(changed), seq)
        with pytest.raises((StoreDamaged, StoreIncompatible), match=f"x@{seq}"):
            await commits(store, newest_first=newest_first)
        assert len(await facts(store, "y")) == 6
        assert len(await store.summaries()) == 2


async def test_records_that_changed_places_are_noticed(opened: Open, path: Path) -> None:
    store = opened()
    await filled(store)
    sql(
        path,
        "UPDATE journal SET record = (SELECT record FROM journal WHERE position = 2 << 32 | 3)"
        " WHERE position = 1 << 32 | 3",
    )
    with pytest.raises(StoreDamaged, match="x@3"):
        await facts(store)
    assert len(await facts(store, "y")) == 6


@pytest.mark.parametrize("seq", [1, 2, 5])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_missing_record_is_a_gap(opened: Open, path: Path, seq: int, newest_first: bool) -> None:
    store = opened()
    await filled(store)
    sql(path, "DELETE FROM journal WHERE position = 1 << 32 | ?", seq)
    with pytest.raises(StoreDamaged, match=rf"x@{seq}: the journal has a gap"):
        await commits(store, newest_first=newest_first)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_journal_that_is_gone_is_damage(opened: Open, path: Path, newest_first: bool) -> None:
    store = opened()
    await filled(store)
    sql(path, "DELETE FROM journal WHERE position >> 32 = 1")
    with pytest.raises(StoreDamaged, match="x@1"):
        await commits(store, newest_first=newest_first)
    with pytest.raises(StoreDamaged, match="x"):
        await store.summary(X)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_journal_that_lost_its_end_is_damage(opened: Open, path: Path, newest_first: bool) -> None:
    store = opened()
    lease = await store.create(X, "o", [created()], [])
    await store.append(lease, [finished()], [], expected_seq=Seq(1), completed=0)
    sql(path, "DELETE FROM journal WHERE position = (SELECT max(position) FROM journal)")
    with pytest.raises(StoreDamaged, match=r"x@2: the journal's end is missing"):
        await commits(store, newest_first=newest_first)


async def test_a_status_of_no_meaning_is_damage(opened: Open, path: Path) -> None:
    store = opened()
    await filled(store)
    sql(path, "UPDATE executions SET status = 'dreaming' WHERE id = 1")
    with pytest.raises(StoreDamaged, match="dreaming"):
        await store.summary(X)


async def test_a_removal_ends_a_reading(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in ("READ_PAGE", "FIRST_PAGE_BACK"):
        monkeypatch.setattr(journal, page, 2)
    store, other = opened(), opened()
    await filled(store)
    for newest_first in (False, True):
        name = ExecutionId("x" if newest_first else "y")
        reading = store.read(name, newest_first=newest_first)
        await anext(reading)
        await other.remove([name])
        with pytest.raises(UnknownExecution):
            assert [commit async for commit in reading]


@pytest.mark.parametrize("size", [2000, 200_000])
@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
async def test_a_damaged_value_is_named(opened: Open, path: Path, size: int, damage: str) -> None:
    store = opened()
    kept = value(size)
    await store.create(X, "o", [created()], [kept])
    files = blobs(path)
    record = files[0].read_bytes() if files else sql(path, "SELECT record FROM vals")[0][0]
    assert isinstance(record, bytes)
    assert len(files) == (size > 64 * 1024)
    changed = {"changed": record[:-1] + bytes([record[-1] ^ 1]), "cut": record[:-1], "missing": None}[damage]
    if not files:
        sql(path, "UPDATE vals SET record = ?" if changed else "DELETE FROM vals", *([changed] if changed else []))
    elif changed is None:
        files[0].unlink()
    else:
        files[0].write_bytes(changed)
    with pytest.raises(StoreDamaged, match=kept.ref.data.hex()):
        await store.get(kept.ref)
    if damage == "missing":
        assert await store.check() == [f"value {kept.ref.data.hex()}: missing"]


async def test_pages_overwritten_are_damage_and_not_a_crash(opened: Open, path: Path) -> None:
    store = opened()
    await filled(store)
    await store.close()
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    again = opened()
    with pytest.raises(StoreError):
        await facts(again)


async def test_a_journal_without_its_execution_is_reported(opened: Open, path: Path) -> None:
    store = opened()
    await filled(store)
    sql(path, "DELETE FROM executions WHERE id = 1")
    assert [text for text in await store.check() if "belong to no execution" in text]


# -- files of values --------------------------------------------------------------------------------------------------


async def test_only_old_files_that_nobody_refers_to_are_collected(opened: Open, path: Path) -> None:
    store = opened()
    lease = await store.create(X, "o", [created()], [value(200_000, 1)])
    await store.release(lease)
    other = await store.create(ExecutionId("y"), "o", [created()], [value(200_000, 2)])
    for digest in (b"\x01" * 32, b"\x02" * 32):
        store._blobs.put(digest, b"left by a crash")
    old, young = blobs(path)[:2]
    for file in blobs(path):
        if file != young:
            age(file)
    assert (old.parent.name, young.parent.name) == ("01", "02")
    await store.remove([X])
    assert [file for file in blobs(path) if file.parent.name in ("01", "02")] == [young]
    assert await store.get(value(200_000, 2).ref) == value(200_000, 2).payload
    with pytest.raises(StoreDamaged):
        await store.get(value(200_000, 1).ref)
    assert await add(store, other, 1) == 2
    assert await store.check() == []


async def test_a_refused_commit_leaves_at_most_a_file_that_is_collected(opened: Open, path: Path) -> None:
    store = opened()
    lease = await admit(store)
    with pytest.raises(StoreError):
        await store.append(lease, [claimed()], [value(200_000)], expected_seq=Seq(7), completed=0)
    for file in blobs(path):
        age(file)
    await store.remove([])
    assert blobs(path) == []


async def test_temporary_files_of_dead_writers_are_collected(opened: Open, path: Path) -> None:
    store = opened()
    store._blobs.put(b"\x01" * 32, b"x")
    stale = blobs(path)[0].with_name(".tmp-1-abc")
    stale.write_bytes(b"half")
    age(stale)
    await store.remove([])
    assert not stale.exists()


# -- durability -------------------------------------------------------------------------------------------------------


class CountingFile(apsw.VFSFile):
    def __init__(self, vfs: str, name: apsw.URIFilename | str | None, flags: list[int], counts: dict[str, int]) -> None:
        super().__init__(vfs, name, flags)
        self.name = name if isinstance(name, str) else name.filename() if name is not None else ""
        self.counts = counts

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        suffix = "wal" if self.name.endswith("-wal") else "db"
        self.counts[suffix] = self.counts.get(suffix, 0) + 1
        super().xSync(flags)


class CountingVFS(apsw.VFS):
    """The system's files, with a count of what is synced."""

    def __init__(self, base: str, counts: dict[str, int]) -> None:
        self.base, self.counts = base, counts
        super().__init__("counting", self.base, makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return CountingFile(self.base, name, flags, self.counts)


@pytest.fixture
def syncs() -> Iterator[dict[str, int]]:
    counts: dict[str, int] = {}
    default = apsw.vfs_names()[0]
    vfs = CountingVFS(default, counts)
    yield counts
    vfs.unregister()
    apsw.set_default_vfs(default)


async def test_every_commit_of_a_durable_store_is_synced(opened: Open, syncs: dict[str, int]) -> None:
    store = opened()
    lease = await admit(store)
    for seq in range(1, 6):
        syncs.clear()
        await add(store, lease, seq)
        assert syncs.get("wal", 0) >= 1


async def test_a_store_for_crashes_of_the_process_syncs_what_must_be_durable(
    opened: Open, syncs: dict[str, int]
) -> None:
    store = opened(durable=False)
    syncs.clear()
    lease = await admit(store)
    assert syncs.get("wal", 0) >= 1, "an admission is durable whatever the setting (I0)"
    syncs.clear()
    await add(store, lease, 1)
    await add(store, lease, 2, values=[value(2000)])
    assert syncs == {}
    for seq in (3, 4):
        syncs.clear()
        await store.append(lease, [claimed()], [], expected_seq=Seq(seq), completed=0, durable=True)
        assert syncs.get("wal", 0) >= 1
        assert store._db.pragma("synchronous") == 1
    syncs.clear()
    await add(store, lease, 5)
    assert syncs == {}


async def test_a_refused_durable_commit_leaves_the_setting_as_it_was(opened: Open) -> None:
    store = opened(durable=False)
    lease = await admit(store)
    with pytest.raises(StoreError):
        await store.append(lease, [claimed()], [], expected_seq=Seq(9), completed=0, durable=True)
    assert store._db.pragma("synchronous") == 1


# -- locks of executions ----------------------------------------------------------------------------------------------


async def test_a_lease_without_a_lock_file_ends_at_its_deadline(opened: Open, clock: ManualClock) -> None:
    victim, thief, third = opened(), opened(), opened()
    await admit(victim)
    await thief.acquire(X, "thief", steal=True)
    await victim.close()
    with pytest.raises(ExecutionOwned):
        await third.acquire(X, "third")
    clock.advance(victim.lease_seconds)
    assert (await third.acquire(X, "third")).epoch == 3


async def test_no_lock_file_stays_behind(opened: Open, path: Path) -> None:
    store = opened()
    for number in range(3):
        lease = await admit(store, f"x{number}")
        await add(store, lease, 1, finished())
        await store.release(lease)
    await store.release(await store.acquire(ExecutionId("x0"), "me"))
    await store.remove([ExecutionId("x1")])
    with pytest.raises(UnknownExecution):
        await store.acquire(ExecutionId("unknown"), "me")
    assert list(path.with_name("store.db-locks").iterdir()) == []


async def test_a_symbolic_link_in_place_of_a_lock_file_is_not_followed(opened: Open, path: Path) -> None:
    store = opened()
    await store.release(await admit(store))
    target = path.parent / "victim"
    target.write_text("precious")
    store._locks._path("x").symlink_to(target)
    with pytest.raises(StoreUnavailable):
        await store.acquire(X, "me")
    assert target.read_text() == "precious"
