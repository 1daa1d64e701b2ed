from __future__ import annotations

import gzip
import io
import os
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools.archives import reading
from orchestrator.tools.archives.formats import ENDINGS, zstd

Call = Callable[..., Any]


@pytest.fixture
def files(project: Path) -> Path:
    folder = project / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_text("a\n")
    (folder / "deep" / "b.csv").write_bytes(os.urandom(70_000))
    (folder / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "deep" / "run.sh").chmod(0o700)
    (folder / "deep" / "ä.txt").write_text("")
    (folder / ".hidden").write_text("h")
    return folder


def tar_of(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def link_in_zip() -> bytes:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zip_of((info, b"/etc/passwd"))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.usefixtures("files")
def test_what_is_packed_comes_out_again(call: Call, project: Path, ending: str, context: Any) -> None:
    packed = call("archive", "pack", paths="data", output=f"out/all{ending}")
    assert (packed["path"], packed["count"]) == (f"out/all{ending}", 4)
    assert packed["size"] == (project / packed["path"]).stat().st_size
    assert sorted(context.read) == sorted(f"data/{n}" for n in ("a.csv", "deep/b.csv", "deep/run.sh", "deep/ä.txt"))
    assert context.written == [packed["path"]]
    listed = call("archive", "list", path=packed["path"])
    assert listed["format"] == packed["format"] == ENDINGS[ending]
    assert listed["entries"][0] == {"path": "data/a.csv", "type": "file", "size": 2}
    context.written.clear()
    found = call("archive", "unpack", path=packed["path"], folder="copy")
    assert found == call("archive", "unpack", path=packed["path"], folder="copy"), "as after a crash"
    assert found["files"] == ["copy/data/" + n for n in ("a.csv", "deep/b.csv", "deep/run.sh", "deep/ä.txt")]
    assert (found["path"], found["count"], found["size"]) == ("copy", 4, 2 + 70_000 + 10)
    assert set(context.written) == set(found["files"])
    for path in found["files"]:
        copy, origin = project / path, project / path.removeprefix("copy/")
        assert copy.read_bytes() == origin.read_bytes()
        assert os.access(copy, os.X_OK) == os.access(origin, os.X_OK)
    assert not list(project.rglob("*.part"))


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.zst"])
def test_the_same_files_give_the_same_bytes(call: Call, project: Path, files: Path, ending: str) -> None:
    first = call("archive", "pack", paths=["data/deep", "data/a.csv"], output=f"one{ending}")
    for path in sorted(files.rglob("*"), reverse=True):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o700)
    second = call("archive", "pack", paths=["data/a.csv", "data/**/*"], output=f"two{ending}")
    assert first["sha256"] == second["sha256"]
    assert (project / f"one{ending}").read_bytes() == (project / f"two{ending}").read_bytes()


def test_what_is_packed_and_how_it_is_named(call: Call, project: Path, files: Path) -> None:
    def names(output: str = "x.zip", **parameters: Any) -> list[str]:
        path = call("archive", "pack", output=output, **parameters)["path"]
        return [entry["path"] for entry in call("archive", "list", path=path)["entries"]]

    (project / ".orchestrator" / "data").mkdir(parents=True)
    (project / ".orchestrator" / "data" / "t.csv").write_text("")
    (files / "link.csv").symlink_to("a.csv")
    assert names(paths="data/*.csv", base="data") == ["a.csv", "link.csv"]
    assert names(paths="data", base="data", output="data/x.tar")[-1] == "link.csv"
    assert names(paths="data", base="data", output="data/x.tar") == [
        "a.csv", "deep/b.csv", "deep/run.sh", "deep/ä.txt", "link.csv",
    ]  # fmt: skip
    hidden = names(paths=".", hidden=True)
    assert "data/.hidden" in hidden
    assert not [name for name in hidden if name.startswith((".orchestrator", "x.zip"))]
    assert names(paths=".orchestrator/data/t.csv") == [".orchestrator/data/t.csv"]
    assert names(paths="data/a.csv", output="any.bin", format="tar") == ["data/a.csv"]


@pytest.mark.parametrize(
    ("parameters", "kind", "text"),
    [
        ({"paths": "none.txt"}, "not_found", "there is no file 'none.txt'"),
        ({"paths": "*.none"}, "not_found", "no file matches '*.none'"),
        ({"paths": []}, "not_found", "there is no file to pack"),
        ({"paths": "../x"}, "path", "leads outside"),
        ({"paths": "/etc/host*"}, "path", "leads outside"),
        ({"paths": "data/a.csv", "output": "../x.zip"}, "path", "leads outside"),
        ({"paths": "data/a.csv", "output": "x.rar"}, "format", "there are .zip, .tar,"),
        ({"paths": "data/a.csv", "base": "data/deep"}, "path", "choose `base`"),
        ({"paths": "data/a.csv", "format": "rar"}, "parameters", "format"),
        ({"paths": "way\\out"}, "path", "not one that every system can unpack"),
        ({"paths": "pipe"}, "path", "is a FIFO, not a file"),
    ],
)
@pytest.mark.usefixtures("files")
def test_what_cannot_be_packed(refused: Call, project: Path, parameters: dict[str, Any], kind: str, text: str) -> None:
    (project / "way\\out").write_text("")
    os.mkfifo(project / "pipe")
    error = refused("archive", "pack", **{"output": "x.zip", **parameters})
    assert error.kind == kind
    assert text in str(error)
    assert not (project / "x.zip").exists()


@pytest.mark.parametrize("output", ["x.zip", "x.tar", "x.tar.zst"])
def test_a_file_that_shrinks_while_it_is_packed(
    refused: Call, project: Path, files: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.tools.archives import packing

    real = packing._Reading.read

    def shrinking(self: Any, most: int = 1000) -> bytes:
        os.truncate(files / "deep" / "b.csv", 20_000)
        return real(self, min(most, 30_000))

    monkeypatch.setattr(packing._Reading, "read", shrinking)
    error = refused("archive", "pack", paths="data/deep/b.csv", output=output)
    assert (error.kind, error.retryable) == ("changed", True)
    assert not list(project.glob("*x.*"))


EVIL = {
    "climbs": (tar_of(("ok.txt", b"x"), ("../evil.txt", b"x")), "leads outside the folder"),
    "climbs in the middle": (tar_of(("a/../../evil.txt", b"x")), "leads outside the folder"),
    "absolute": (tar_of(("/tmp/evil.txt", b"x")), "has an absolute path"),
    "drive": (tar_of(("C:evil.txt", b"x")), "has an absolute path"),
    "backslash": (tar_of(("a\\..\\evil.txt", b"x")), "different things on different systems"),
    "symlink": (tar_of(special("link", tarfile.SYMTYPE, "/etc"), ("link/passwd", b"x")), "'link' is a link"),
    "hard link": (tar_of(special("link", tarfile.LNKTYPE, "/etc/passwd")), "'link' is a link"),
    "device": (tar_of(special("null", tarfile.CHRTYPE)), "neither a file nor a folder"),
    "fifo": (tar_of(special("pipe", tarfile.FIFOTYPE)), "neither a file nor a folder"),
    "twice": (tar_of(("a", b"1"), ("./a", b"2")), "holds 'a' twice"),
    "file and folder": (tar_of(("a", b"1"), ("a/b", b"2")), "as a file and as a folder"),
    "zip climbs": (zip_of(("ok.txt", b"x"), ("../evil.txt", b"x")), "leads outside the folder"),
    "zip absolute": (zip_of(("/evil.txt", b"x")), "has an absolute path"),
    "zip link": (link_in_zip(), "'link' is a link"),
    "zip NUL": (zip_of(("evilX.txt", b"x")).replace(b"evilX", b"evil\0"), "different systems"),
    "no archive": (b"hello", "neither zip nor tar"),
    "empty": (b"", "neither zip nor tar"),
    "cut zip": (zip_of(("a", b"x" * 999))[:60], "it is damaged"),
    "cut tar": (tar_of(("a", b"x" * 999), ("b", b"y" * 999))[:700], "it is damaged"),
    "cut between members": (tar_of(("a", b"x"), ("b", b"y"))[:1024], "it is damaged: it is cut off"),
    "cut in a header": (tar_of(("a", b"x"), ("b", b"y"))[:1100], "it is damaged"),
    "cut gz": (gzip.compress(tar_of(("a", os.urandom(9999))))[:5000], "it is damaged"),
    "broken gz": (gzip.compress(tar_of(("a", b"x")))[:-8] + b"\0" * 8, "it is damaged"),
    "broken zst": (zstd().compress(tar_of(("a", b"x" * 99)))[:20], "it is damaged"),
    "gz of no tar": (gzip.compress(b"hello" * 400), "it is damaged"),
    "broken header": (tar_of(("a", b"x"), ("b", b"y")).replace(b"b\0\0", b"B\0\0", 1), "it is damaged"),
}


@pytest.mark.parametrize("name", EVIL)
def test_archives_that_are_not_opened(refused: Call, project: Path, name: str) -> None:
    data, text = EVIL[name]
    (project / "evil").write_bytes(data)
    error = refused("archive", "unpack", path="evil", folder="out")
    assert (error.kind, error.retryable) == ("archive", False)
    assert text in str(error)
    assert not (project / "out").exists(), "nothing is written before everything was looked at"
    assert not list(project.parent.rglob("evil.txt"))


@pytest.mark.parametrize(("at", "value", "text"), [(8, 1, "is encrypted"), (10, zipfile.ZIP_LZMA, "not supported")])
def test_a_zip_of_another_kind_is_not_opened(refused: Call, project: Path, at: int, value: int, text: str) -> None:
    data = bytearray(zip_of(("a", b"x")))
    data[data.index(b"PK\x01\x02") + at] = value
    (project / "e.zip").write_bytes(data)
    assert text in str(refused("archive", "unpack", path="e.zip", folder="out"))


def test_a_member_with_a_wrong_checksum_leaves_nothing(refused: Call, project: Path) -> None:
    data = bytearray(zip_of(("a", b"hello")))
    data[data.index(b"PK\x01\x02") + 16] ^= 1
    data[14] ^= 1
    (project / "e.zip").write_bytes(data)
    assert refused("archive", "unpack", path="e.zip", folder="out").kind == "archive"
    assert list((project / "out").iterdir()) == []


def lying(claimed: int) -> bytes:
    """A zip whose member is larger than it says."""
    data = bytearray(zip_of(("a", b"x" * 5000)))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", claimed)
    return bytes(data)


BOMBS = {  # each of 2 MiB
    "gz": gzip.compress(tar_of(("zeros", bytes(2 << 20)))),
    "zst": zstd().compress(tar_of(("zeros", bytes(2 << 20)))),
    "zip": zip_of(("zeros", bytes(2 << 20))),
}


@pytest.mark.parametrize("action", ["unpack", "list"])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(
    refused: Call, call: Call, project: Path, name: str, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FREE_BYTES", 1 << 20)
    (project / "bomb").write_bytes(BOMBS[name])
    more = {"folder": "out"} if action == "unpack" else {}
    for limits, said in (({}, "max_ratio"), ({"max_ratio": 10**6, "max_bytes": 1 << 20}, "max_bytes")):
        error = refused("archive", action, path="bomb", **more, **limits)
        assert (error.kind, error.retryable) == ("too_large", False)
        assert f"raise `{said}`" in str(error)
    assert not (project / "out").exists()
    assert call("archive", action, path="bomb", max_ratio=10**6, **more)["count"] == 1


def test_a_bomb_in_a_header(refused: Call, project: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.XHDTYPE, 8 << 20
    (project / "bomb").write_bytes(gzip.compress(header.tobuf() + bytes(8 << 20)))
    assert "longer than a megabyte" in str(refused("archive", "list", path="bomb"))


def test_too_many_members(refused: Call, project: Path) -> None:
    (project / "many").write_bytes(tar_of(*((f"f{number}", b"") for number in range(11))))
    error = refused("archive", "list", path="many", max_files=10)
    assert (error.kind, "more than 10 members" in str(error)) == ("too_large", True)


@pytest.mark.parametrize("claimed", [10, 6000])
def test_a_member_that_lies_about_its_size(refused: Call, project: Path, claimed: int) -> None:
    (project / "lie").write_bytes(lying(claimed))
    assert refused("archive", "unpack", path="lie", folder="out").kind == "archive"
    assert not [path for path in (project / "out").rglob("*") if path.is_file()]


def test_links_that_are_there_lead_nowhere(refused: Call, project: Path) -> None:
    (project / "src").mkdir()
    (project / "src" / "a.py").write_text("mine")
    (project / "out").mkdir()
    (project / "out" / "d").symlink_to("../src")
    (project / "out" / "f").symlink_to("../src/a.py")
    (project / "t1").write_bytes(tar_of(("d/a.py", b"theirs")))
    (project / "t2").write_bytes(tar_of(("f", b"theirs")))
    assert "a link in the folder leads out of it" in str(refused("archive", "unpack", path="t1", folder="out"))
    assert "is a symlink, not a file" in str(refused("archive", "unpack", path="t2", folder="out"))
    assert (project / "src" / "a.py").read_text() == "mine"


def test_what_is_there_is_kept_where_it_is_wanted(call: Call, refused: Call, project: Path) -> None:
    (project / "t").write_bytes(tar_of(special("d", tarfile.DIRTYPE), special("e/f", tarfile.DIRTYPE), ("d/a", b"new")))
    assert call("archive", "unpack", path="t", folder=".", overwrite=False)["files"] == ["d/a"]
    assert (project / "e" / "f").is_dir()
    assert call("archive", "unpack", path="t", folder=".", overwrite=False)["count"] == 1
    (project / "d" / "a").write_text("old")
    assert refused("archive", "unpack", path="t", folder=".", overwrite=False).kind == "exists"
    assert (project / "d" / "a").read_text() == "old"
    call("archive", "unpack", path="t", folder=".")
    assert (project / "d" / "a").read_text() == "new"


@pytest.mark.parametrize(("folder", "text"), [("../out", "leads outside"), (".orchestrator", "belongs to the store")])
def test_folders_that_nothing_is_unpacked_into(refused: Call, project: Path, folder: str, text: str) -> None:
    (project / "t").write_bytes(tar_of(("a", b"x")))
    error = refused("archive", "unpack", path="t", folder=folder)
    assert (error.kind, text in str(error)) == ("path", True)


@pytest.mark.parametrize("action", ["pack", "unpack", "list"])
def test_a_cancelled_attempt_ends(call: Call, refused: Call, files: Path, context: Any, action: str) -> None:
    call("archive", "pack", paths="data", output="x.zip")
    context.cancelled = True
    more = {"paths": "data", "output": "y.zip"} if action == "pack" else {"path": "x.zip"}
    if action == "unpack":
        more["folder"] = "out"
    assert refused("archive", action, **more).kind == "cancelled"
    assert not (files.parent / "y.zip").exists()


def test_whatever_is_changed_in_an_archive_is_an_error_of_ours_or_none(call: Call, project: Path) -> None:
    plain = tar_of(("a", b"x" * 700), ("d/b", b"y"), ("n" * 150, b"z"))
    seeds = [plain, gzip.compress(plain), zstd().compress(plain), zip_of(("a", b"x" * 700), ("ä", b"z"))]
    chance = random.Random(1)
    refusals = []
    for number in range(120):
        data = bytearray(seeds[number % 4])
        for _ in range(chance.choice((1, 1, 3))):
            data[chance.randrange(len(data))] = chance.choice((0, 255, chance.randrange(256)))
        (project / "mutant").write_bytes(data[: chance.choice((None, chance.randrange(1, len(data))))])
        try:
            call("archive", "list", path="mutant")
        except TaskError as error:
            refusals.append(error.kind)
    assert len(refusals) > 50
    assert set(refusals) <= {"archive", "too_large"}
