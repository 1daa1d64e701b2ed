import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import crashpoints
from orchestrator.errors import StoreDamaged, StoreFull, StoreUnavailable
from orchestrator.state import blobs
from orchestrator.state.blobs import BlobFiles
from orchestrator.state.records import digest_of, encode_value, seal_value, unseal_value

ENCODED = encode_value(list(range(50_000)))
DIGEST, RECORD = ENCODED.ref.data, seal_value(ENCODED)


@pytest.fixture
def files(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path / "store" / "blobs")


def everything(files: BlobFiles) -> list[Path]:
    return [path for path in files.root.rglob("*") if path.is_file()]


def test_what_is_put_is_got_and_verified(files: BlobFiles) -> None:
    files.put(DIGEST, RECORD)
    assert unseal_value(ENCODED.ref, files.get(DIGEST), name="blob") == ENCODED.payload
    (info,) = files.iterate()
    assert (info.digest, info.size) == (DIGEST, len(RECORD))
    assert abs(info.mtime - time.time()) < 60
    assert everything(files) == [files.root / DIGEST.hex()[:2] / DIGEST.hex()[2:]]


def test_putting_twice_writes_once(files: BlobFiles) -> None:
    files.put(DIGEST, RECORD)
    first = everything(files)[0].stat()
    files.put(DIGEST, RECORD)
    assert everything(files)[0].stat().st_ino == first.st_ino


@pytest.mark.parametrize(
    "damage", [lambda r: r[:-1], lambda _: b"", lambda r: r[:50] + b"?" + r[51:], lambda r: r + b"x"]
)
def test_a_damaged_file_is_noticed_and_putting_again_heals_it(files: BlobFiles, damage: Any) -> None:
    files.put(DIGEST, RECORD)
    everything(files)[0].write_bytes(damage(RECORD))
    with pytest.raises(StoreDamaged, match="blob 12"):
        unseal_value(ENCODED.ref, files.get(DIGEST), name="blob 12")
    files.put(DIGEST, RECORD)
    assert files.get(DIGEST) == RECORD


def test_a_missing_blob_is_named(files: BlobFiles) -> None:
    with pytest.raises(StoreDamaged, match=f"blob {DIGEST.hex()}: missing"):
        files.get(DIGEST)


def test_two_swapped_blobs_are_noticed(files: BlobFiles) -> None:
    other = encode_value("y" * 100_000)
    files.put(DIGEST, RECORD)
    files.put(other.ref.data, seal_value(other))
    one, two = everything(files)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    for encoded in (ENCODED, other):
        with pytest.raises(StoreDamaged, match="wrong checksum"):
            unseal_value(encoded.ref, files.get(encoded.ref.data), name="blob")


def test_delete_and_iterate(files: BlobFiles) -> None:
    assert list(files.iterate()) == []
    digests = sorted(digest_of(bytes([n])) for n in range(20))
    for digest in digests:
        files.put(digest, b"record")
    assert [info.digest for info in files.iterate()] == digests
    files.delete(digests[0])
    files.delete(digests[0])
    assert [info.digest for info in files.iterate()] == digests[1:]
    (files.root / "notes.txt").write_text("not ours")
    (files.root / digests[1].hex()[:2] / "notes").write_text("not ours")
    assert len(list(files.iterate())) == 19


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_permissions_do_not_depend_on_the_umask(files: BlobFiles, umask: int) -> None:
    files.root.parent.mkdir()
    before = os.umask(umask)
    try:
        files.put(DIGEST, RECORD)
    finally:
        os.umask(before)
    (path,) = everything(files)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert files.root.stat().st_mode & 0o777 == 0o700


def test_temporary_files_of_dead_writers_go_after_an_hour(files: BlobFiles) -> None:
    files.put(DIGEST, RECORD)
    folder = files.root / DIGEST.hex()[:2]
    old, new = folder / ".tmp-1-old", folder / ".tmp-2-new"
    for path in (old, new):
        path.write_bytes(b"half")
    now = time.time()
    os.utime(old, (now - 3700, now - 3700))
    assert [info.digest for info in files.iterate()] == [DIGEST]
    assert files.remove_stale(now) == 1
    assert not old.exists()
    assert new.exists()
    assert files.get(DIGEST) == RECORD


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreUnavailable),
        (errno.EROFS, StoreUnavailable),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_failures_are_told_and_leave_nothing(
    files: BlobFiles, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], call: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    files.put(digest_of(b""), b"other")
    files._make_folder(files.root / DIGEST.hex()[:2])
    with monkeypatch.context() as patch:
        patch.setattr(Path if call == "replace" else os, call, fail)
        with pytest.raises(error, match=f"writing blob {DIGEST.hex()}: {os.strerror(number)}") as caught:
            files.put(DIGEST, RECORD)
    assert type(caught.value) is error
    assert [path.read_bytes() for path in everything(files)] == [b"other"]
    files.put(DIGEST, RECORD)
    assert files.get(DIGEST) == RECORD


def test_a_failing_sync_of_the_folder_is_told_and_done_again(files: BlobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = blobs._sync_folder

    def sync(folder: Path) -> None:
        synced.append(folder.name)
        if folder.name == DIGEST.hex()[:2] and len(synced) < 4:
            raise OSError(errno.EIO, "I/O error")
        real(folder)

    files.root.parent.mkdir()
    monkeypatch.setattr(blobs, "_sync_folder", sync)
    with pytest.raises(StoreUnavailable):
        files.put(DIGEST, RECORD)
    assert synced == ["store", "blobs", DIGEST.hex()[:2]]  # new names become durable from the top down
    files.put(DIGEST, RECORD)  # the file is there, its name perhaps not yet
    assert synced[3:] == [DIGEST.hex()[:2]]


def test_the_name_of_a_folder_that_another_process_made_is_synced_too(
    files: BlobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.put(DIGEST, RECORD)
    synced: list[Path] = []
    monkeypatch.setattr(blobs, "_sync_folder", synced.append)
    BlobFiles(files.root).put(DIGEST, RECORD)
    folder = files.root / DIGEST.hex()[:2]
    assert synced == [files.root.parent, files.root, folder]


def test_short_writes_are_continued(files: BlobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:1000]))
    files.put(DIGEST, RECORD)
    assert files.get(DIGEST) == RECORD


def test_order_of_the_crash_points(files: BlobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[str, int]] = []
    monkeypatch.setattr(crashpoints, "point", lambda name: passed.append((name, len(list(files.iterate())))))
    files.put(DIGEST, RECORD)
    assert passed == [("before_blob", 0), ("after_blob", 1)]


@pytest.mark.parametrize(("point", "there"), [("before_blob", 0), ("after_blob", 1)])
def test_killed_at_a_crash_point(files: BlobFiles, point: str, there: int) -> None:
    code = (
        "import sys; from pathlib import Path; from orchestrator.state.blobs import BlobFiles\n"
        "BlobFiles(Path(sys.argv[1])).put(bytes(32), b'x' * 100_000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(files.root)],
        env={**os.environ, "ORCHESTRATOR_CRASH_POINT": point},
        check=False,
    )
    assert done.returncode == -9
    assert [info.size for info in files.iterate()] == [100_000] * there
    assert files.remove_stale(time.time() + 3700) == 1 - there
    files.put(bytes(32), b"x" * 100_000)
    assert files.get(bytes(32)) == b"x" * 100_000


@pytest.mark.chaos
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small tmpfs, which needs root")
def test_a_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode(errors='replace').strip()}")
    try:
        files = BlobFiles(mount / "blobs")
        files.put(DIGEST, RECORD)
        with pytest.raises(StoreFull, match="No space left"):
            files.put(bytes(32), os.urandom(2 << 20))
        assert [info.digest for info in files.iterate()] == [DIGEST]
        assert [path.name for path in everything(files)] == [DIGEST.hex()[2:]]
        files.put(bytes(32), os.urandom(100_000))
        assert files.get(DIGEST) == RECORD
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_blob_that_is_put_again_is_not_collected(tmp_path: Path) -> None:
    """Between the look of a collector and its deletion somebody may need the same content once more."""
    blobs = BlobFiles(tmp_path / "blobs")
    digest = b"\x07" * 32
    blobs.put(digest, b"record")
    (seen,) = blobs.iterate()
    os.utime(blobs._path(digest), (1, 1))
    blobs.put(digest, b"record")
    blobs.delete(digest, unless_after=seen.mtime - 10)
    assert blobs.get(digest) == b"record"
    os.utime(blobs._path(digest), (1, 1))
    blobs.delete(digest, unless_after=seen.mtime)
    assert list(blobs.iterate()) == []
