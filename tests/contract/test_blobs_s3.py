"""Large values in a bucket, held against a local S3 server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Orchestrator
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.domain.values import Stored
from orchestrator.errors import StoreDamaged, StoreUnavailable, UsageError, ValueGone
from orchestrator.ports.store import Sizes, Store
from orchestrator.state import blobs_s3
from orchestrator.state.blobs_s3 import S3Blobs
from orchestrator.state.encryption import Encryption
from orchestrator.state.records import digest_of, encode_value, seal_value, unseal_value
from orchestrator.state.sqlite import SqliteStore
from orchestrator.state.url import StoreOptions, open_store
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.stores.facts import add, admit, completed, created, value
from orchestrator.testing.stores.lists import RemovalTests
from orchestrator.testing.stores.values import ReferredValueTests, SharedValueTests
from tests.everystore import SHARED, STORES
from tests.services_s3 import Bucket
from tests.unit.core.bench import wait_until

ENCODED = encode_value(list(range(50_000)))
DIGEST, RECORD = ENCODED.ref.data, seal_value(ENCODED)
LATER = 3600.0 * 24


@pytest.fixture
def blobs(bucket: Bucket) -> S3Blobs:
    return S3Blobs(bucket.url)


# -- the port ------------------------------------------------------------------------------------------------------


def test_what_is_put_is_got_and_verified(blobs: S3Blobs) -> None:
    blobs.put(DIGEST, RECORD)
    assert unseal_value(ENCODED.ref, blobs.get(DIGEST), name="blob") == ENCODED.payload
    (info,) = blobs.iterate()
    assert (info.digest, info.size) == (DIGEST, len(RECORD))
    assert abs(info.mtime - time.time()) < 60


def test_putting_again_heals_what_is_there_and_makes_it_young(blobs: S3Blobs) -> None:
    blobs.put(DIGEST, b"damaged")
    (before,) = blobs.iterate()
    while time.time() < before.mtime + 1.1:  # the server's times have no fractions
        time.sleep(0.05)
    blobs.put(DIGEST, RECORD)
    (after,) = blobs.iterate()
    assert blobs.get(DIGEST) == RECORD
    assert after.mtime > before.mtime
    blobs.delete(DIGEST, unless_after=before.mtime)
    assert blobs.get(DIGEST) == RECORD


def test_what_is_old_is_deleted_and_deleting_twice_is_no_error(blobs: S3Blobs) -> None:
    blobs.put(DIGEST, RECORD)
    blobs.delete(DIGEST, unless_after=time.time() + LATER)
    assert list(blobs.iterate()) == []
    with pytest.raises(StoreDamaged, match=f"blob {DIGEST.hex()}: missing"):
        blobs.get(DIGEST)
    blobs.delete(DIGEST)
    blobs.delete(DIGEST, unless_after=0.0)
    blobs.put(DIGEST, RECORD)
    blobs.delete(DIGEST)
    assert list(blobs.iterate()) == []
    assert blobs.remove_stale(time.time() + LATER) == 0  # no mark was left


def test_blobs_come_in_the_order_of_their_digests_and_nothing_else_does(blobs: S3Blobs) -> None:
    digests = [digest_of(bytes([number])) for number in range(30)]
    for digest in digests:
        blobs.put(digest, b"x")
    blobs.claim("a store")
    blobs._write("notes.txt", b"somebody's", mode="create")
    blobs._write("ab/zz", b"somebody's", mode="create")
    assert [info.digest for info in blobs.iterate()] == sorted(digests)


def test_who_writes_a_blob_that_is_being_deleted_does_not_lose_it(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector has seen the old object and is about to delete it; at that moment it is put again."""
    blobs.put(DIGEST, RECORD)
    delete = S3Blobs._delete
    writers: list[threading.Thread] = []

    def deleting(self: S3Blobs, path: str) -> None:
        if not writers:  # its look is behind it, its blow before it
            writers.append(threading.Thread(target=S3Blobs.put, args=(S3Blobs(blobs.url), DIGEST, RECORD)))
            writers[0].start()
            overwritten.wait(10)
        delete(self, path)

    overwritten, write = threading.Event(), S3Blobs._write

    def writing(self: S3Blobs, path: str, content: bytes, *, mode: str) -> None:
        write(self, path, content, mode=mode)
        if mode == "overwrite":
            overwritten.set()

    monkeypatch.setattr(S3Blobs, "_delete", deleting)
    monkeypatch.setattr(S3Blobs, "_write", writing)
    blobs.delete(DIGEST, unless_after=time.time() + LATER)
    writers[0].join(20)
    assert blobs.get(DIGEST) == RECORD


def test_the_mark_of_a_collector_that_died_holds_nobody_up_for_long(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs.put(DIGEST, RECORD)
    blobs._write(f"collecting/{DIGEST.hex()}/dead", b"", mode="create")
    monkeypatch.setattr(blobs_s3, "MARK_SECONDS", 1)
    blobs.put(DIGEST, RECORD)
    assert blobs.get(DIGEST) == RECORD
    assert blobs.remove_stale(time.time()) == 0
    assert blobs.remove_stale(time.time() + LATER) == 1


def test_a_place_belongs_to_one_store(blobs: S3Blobs) -> None:
    blobs.claim("one")
    blobs.claim("one")
    with pytest.raises(UsageError, match=r"belong to another store \(one\).*a prefix of its own"):
        blobs.claim("two")


# -- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["x", "s3://", "s3:///x", "https://b/x", "s3://u:hidden@b/x", "s3://b/x?y=1", "s3://b/#x"]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="expected s3://BUCKET") as caught:
        S3Blobs(url)
    assert "hidden" not in str(caught.value)


def test_a_bucket_that_is_not_there(bucket: Bucket) -> None:
    blobs = S3Blobs("s3://no-such-bucket/x")
    calls: list[Callable[[], Any]] = [
        lambda: blobs.put(DIGEST, RECORD),
        lambda: blobs.get(DIGEST),
        lambda: list(blobs.iterate()),
        lambda: blobs.claim("x"),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"s3://no-such-bucket/x: there is no such bucket; create it"):
            call()
    assert bucket.endpoint


def test_a_server_that_is_not_there(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_s3, "RETRY_SECONDS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match=r"writing blob .* at s3://bucket-") as caught:
        S3Blobs(bucket.url).put(DIGEST, RECORD)
    assert "testing" not in str(caught.value)


def test_the_library_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match=r"pip install 'durable-orchestrator\[s3\]'"):
        S3Blobs("s3://b")


# -- beside a store ------------------------------------------------------------------------------------------------


def opened(url: str, bucket: Bucket, blobs: S3Blobs | None = None) -> Store:
    """Open a store whose large values lie in the bucket."""
    there = blobs or S3Blobs(bucket.url)
    return open_store(url, StoreOptions(Path.cwd(), ManualClock(), SeededChance(), blobs=there))


on_all = pytest.mark.parametrize("url", SHARED, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return STORES[request.param](request)


class TestSqliteWithBlobsInS3(SharedValueTests, ReferredValueTests, RemovalTests):
    @pytest.fixture
    def make_store(
        self, quick_path: Path, bucket: Bucket, clock: ManualClock, chance: SeededChance
    ) -> Callable[[], Store]:
        sealing = Encryption({"k": bytes(32)})
        return lambda: SqliteStore(
            quick_path / "store.db", clock=clock, chance=chance, sealing=sealing, blobs=S3Blobs(bucket.url)
        )


async def test_the_loop_goes_on_while_a_value_is_on_its_way(tmp_path: Path, blobs: S3Blobs) -> None:
    begun, finish = threading.Event(), threading.Event()

    class Slow(S3Blobs):
        def put(self, digest: bytes, record: bytes) -> None:
            begun.set()
            assert finish.wait(20)
            super().put(digest, record)

    store = SqliteStore(tmp_path / "store.db", clock=ManualClock(), chance=SeededChance(), blobs=Slow(blobs.url))
    lease = await admit(store)
    big = value(200_000)
    writing = asyncio.create_task(add(store, lease, 1, completed(ref=big.ref), values=[big]))
    assert await asyncio.to_thread(begun.wait, 20)
    assert (await store.summary(ExecutionId("x"))).seq == 1  # read while the value is on its way
    finish.set()
    assert await writing == 2
    assert await store.get(big.ref) == big.payload
    await store.close()


@on_all
async def test_two_stores_in_one_place_are_refused_before_anything_is_lost(url: str, bucket: Bucket) -> None:
    one, two = opened("sqlite:///one.db", bucket), opened(url, bucket)
    big = value(200_000)
    await one.create(ExecutionId("x"), "me", [created()], [big])
    for call in (two.create(ExecutionId("y"), "me", [created()], [big]), two.remove([])):
        with pytest.raises(UsageError, match="belong to another store"):
            await call
    assert await one.get(big.ref) == big.payload
    await one.close()
    await two.close()


@on_all
async def test_rubbish_is_swept_and_what_somebody_needs_is_not(
    url: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite.maintenance", "outside"):
        monkeypatch.setattr(f"orchestrator.state.{module}.BLOB_GRACE_SECONDS", -LATER)  # everything is old
    blobs = S3Blobs(bucket.url)
    store = opened(url, bucket)
    shared, own = value(100_000, 1), value(100_000, 2)
    leases = []
    both: list[tuple[str, list[Stored]]] = [("y", [shared, own]), ("x", [shared.ref])]
    for name, values in both:
        lease = await store.create(ExecutionId(name), "me", [created()], values)
        await store.append(lease, [completed()], [], expected_seq=Seq(1), completed=1)
        leases.append(lease)
    blobs.put(digest_of(b"rubbish"), b"of a crash")
    await store.release(leases[0])
    await store.remove([])
    assert {info.digest for info in blobs.iterate()} == {shared.ref.data, own.ref.data}
    await store.remove([ExecutionId("y")])
    (left,) = blobs.iterate()
    assert left.digest == shared.ref.data
    with pytest.raises(ValueGone):
        await store.create(ExecutionId("y"), "me", [created()], [shared.ref, own.ref])
    assert await store.check() == []
    assert isinstance(store, Sizes)
    sizes = await store.sizes([ExecutionId("x"), ExecutionId("y")])
    assert list(sizes) == ["x"]
    assert left.size < sizes[ExecutionId("x")] < left.size + 1000
    blobs.delete(shared.ref.data)
    assert await store.check() == [f"value {shared.ref.data.hex()}: missing"]
    await store.close()


@on_all
async def test_one_collects_at_a_time_and_what_an_interrupted_one_left_goes_with_the_next(
    url: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite.maintenance", "outside"):
        monkeypatch.setattr(f"orchestrator.state.{module}.BLOB_GRACE_SECONDS", -LATER)
    monkeypatch.setattr("orchestrator.state.outside.PAGE", 1)
    at_work, go_on = threading.Event(), threading.Event()

    class Slow(S3Blobs):
        def delete(self, digest: bytes, *, unless_after: float | None = None) -> None:
            at_work.set()
            assert go_on.wait(20)
            super().delete(digest, unless_after=unless_after)

    blobs = S3Blobs(bucket.url)
    first, second = opened(url, bucket, Slow(bucket.url)), opened(url, bucket)
    await first.create(ExecutionId("x"), "me", [created()], [value(100_000)])
    for number in range(3):
        blobs.put(digest_of(bytes([number])), b"of a crash")
    collecting = asyncio.create_task(first.remove([]))
    assert await asyncio.to_thread(at_work.wait, 20)
    await second.remove([])
    assert len(list(blobs.iterate())) == 4
    collecting.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await collecting
    await second.remove([])
    assert [info.digest for info in blobs.iterate()] == [value(100_000).ref.data]
    await first.close()
    await second.close()


CHILD = """
import asyncio, orchestrator as orc

async def main():
    steps = [{"id": name, "tool": "python", "action": "big:make"} for name in "abc"]
    async with orc.Orchestrator() as orchestrator:
        pipeline = orc.Pipeline.from_dict({"id": "p", "steps": steps}).definition
        await orchestrator.run_pipeline(pipeline, execution_id="e")

asyncio.run(main())
"""


async def is_free(orchestrator: Orchestrator) -> bool:
    (summary,) = await orchestrator.list_executions()
    return summary.holder is None or not summary.holder.alive


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("before_blob:2", "sqlite"),
        ("after_blob:2", "sqlite"),
        ("before_commit:1", "sqlite"),  # three steps may end in one commit
        ("after_blob:2", "postgres"),
        ("after_blob:2", "redis"),
    ],
    indirect=["url"],
)
async def test_a_run_with_values_in_s3_is_killed_and_resumed(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, place: str, url: str
) -> None:
    (tmp_path / "orchestrator.toml").write_text(f"store = {url!r}\nlease = 2.0\n")
    (tmp_path / "big.py").write_text("import os\ndef make():\n    return os.urandom(100_000)\n")
    monkeypatch.setenv("ORCHESTRATOR_BLOBS", bucket.url)
    monkeypatch.setenv("ORCHESTRATOR_CRASH_POINT", place)
    done = subprocess.run([sys.executable, "-c", CHILD], check=False)
    assert done.returncode == -9
    monkeypatch.delenv("ORCHESTRATOR_CRASH_POINT")
    async with Orchestrator() as orchestrator:
        await wait_until(lambda: is_free(orchestrator), description="the lease is over")
        await orchestrator.resume_pipeline("e")
        assert await orchestrator.state_manager.verify() == []
        assert (await orchestrator.state_manager.get_statistics())["blobs"] >= 3
