from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools import copying

Call = Callable[..., Any]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def leftovers(project: Path) -> list[str]:
    return [str(path) for path in project.rglob("*.part")]


# read -------------------------------------------------------------------------------------------------------------


def test_read_as_in_the_specification(call: Call, project: Path) -> None:
    (project / "data").mkdir()
    (project / "data" / "input.csv").write_bytes(b"a,b\r\n1,2\r\n")
    assert call("filesystem", "read", path="data/input.csv") == {
        "path": "data/input.csv",
        "content": "a,b\r\n1,2\r\n",
        "size": 10,
        "sha256": sha256(b"a,b\r\n1,2\r\n"),
    }


@pytest.mark.parametrize(
    ("data", "options", "content"),
    [
        ("ä\n".encode(), {}, "ä\n"),
        (b"\xe4", {"encoding": "latin-1"}, "ä"),
        (b"a\xffb", {"errors": "replace"}, "a\ufffdb"),
        (b"a\xffb", {"errors": "ignore"}, "ab"),
        (b"a\nb\r\nc", {"format": "lines"}, ["a", "b", "c"]),
        (b"\x00\xff", {"format": "bytes"}, b"\x00\xff"),
        (b'{"a": [1, null]}', {"format": "json"}, {"a": [1, None]}),
        (b"", {}, ""),
        (b"", {"format": "lines"}, []),
        (b"\xef\xbb\xbfx", {"encoding": "utf-8-sig"}, "x"),
    ],
)
def test_read_formats(call: Call, project: Path, data: bytes, options: dict[str, Any], content: Any) -> None:
    (project / "file").write_bytes(data)
    assert call("filesystem", "read", path="file", **options)["content"] == content


@pytest.mark.parametrize(
    ("data", "options", "kind", "text"),
    [
        (b"\xff", {}, "encoding", "is not text in utf-8"),
        (b"x", {"encoding": "klingon"}, "encoding", "unknown encoding"),
        (b"{", {"format": "json"}, "json", "'file' is not JSON"),
        (b"[" * 100_000, {"format": "json"}, "json", "is not JSON"),
        (b"12345", {"max_bytes": 4}, "too_large", "hand tables to the tool data-processing"),
    ],
)
def test_read_refuses(refused: Call, project: Path, data: bytes, options: dict[str, Any], kind: str, text: str) -> None:
    (project / "file").write_bytes(data)
    error = refused("filesystem", "read", path="file", **options)
    assert error.kind == kind
    assert text in str(error)
    assert not error.retryable


def test_read_a_file_that_tells_no_size(refused: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_PATHS", "/proc")
    error = refused("filesystem", "read", path="/proc/kallsyms", max_bytes=100)
    assert error.kind == "too_large"


@pytest.mark.parametrize(
    "parameters", [{}, {"path": 5}, {"path": None}, {"path": "x", "format": "xml"}, {"path": "x", "max_bytes": "9"}]
)
def test_wrong_parameters(refused: Call, parameters: dict[str, Any]) -> None:
    assert refused("filesystem", "read", **parameters).kind == "parameters"


# write ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ("text\n", b"text\n"),
        ("", b""),
        (b"\x00", b"\x00"),
        ({"a": ["ä", 1.5, None]}, '{\n  "a": [\n    "ä",\n    1.5,\n    null\n  ]\n}\n'.encode()),
        (5, b"5\n"),
        (None, b"null\n"),
    ],
)
def test_write(call: Call, project: Path, content: Any, data: bytes) -> None:
    result = call("filesystem", "write", path="new/folder/file", content=content)
    assert (project / "new" / "folder" / "file").read_bytes() == data
    assert result == {"path": "new/folder/file", "size": len(data), "sha256": sha256(data)}
    assert leftovers(project) == []


def test_write_replaces_and_keeps_permissions(call: Call, project: Path) -> None:
    (project / "file").write_text("old")
    (project / "file").chmod(0o640)
    before = (project / "file").stat().st_ino
    call("filesystem", "write", path="file", content="new")
    after = (project / "file").stat()
    assert (project / "file").read_text() == "new"
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert after.st_ino != before


def test_write_leaves_a_hard_link_elsewhere_alone(call: Call, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("theirs")
    (project / "file").hardlink_to(tmp_path / "elsewhere")
    call("filesystem", "write", path="file", content="ours")
    assert (tmp_path / "elsewhere").read_text() == "theirs"


def test_write_without_overwriting(call: Call, refused: Call, project: Path) -> None:
    call("filesystem", "write", path="file", content="one", overwrite=False)
    call("filesystem", "write", path="file", content="one", overwrite=False)  # again, as after a crash
    error = refused("filesystem", "write", path="file", content="two", overwrite=False)
    assert (error.kind, (project / "file").read_text()) == ("exists", "one")


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("../file", "x", "path"),
        ("folder", "x", "path"),
        (".", "x", "path"),
        (".orchestrator/store.db", "x", "path"),
        ("file/below", "x", "path"),
        ("other", "\ud800", "encoding"),
        ("other", {"a": {1, 2}}, "json"),
        ("other", object(), "json"),
        ("n" * 256, "x", "path"),
    ],
)
def test_write_refuses(refused: Call, project: Path, path: str, content: Any, kind: str) -> None:
    (project / "folder").mkdir()
    (project / "file").write_text("old")
    assert refused("filesystem", "write", path=path, content=content).kind == kind
    assert sorted(each.name for each in project.iterdir()) in (["file", "folder"], [".orchestrator", "file", "folder"])


def test_a_write_that_fails_leaves_the_old_file(refused: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "file").write_text("old")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.tools.atomic.os.write", full)
    error = refused("filesystem", "write", path="file", content="new")
    monkeypatch.undo()
    assert (error.kind, error.retryable) == ("io", True)
    assert "No space left" in str(error)
    assert (project / "file").read_text() == "old"
    assert leftovers(project) == []


def test_a_long_name_can_be_written(call: Call, project: Path) -> None:
    call("filesystem", "write", path="n" * 255, content="x")
    assert (project / ("n" * 255)).read_text() == "x"


def test_what_an_earlier_attempt_left_is_removed(call: Call, project: Path, make_context: Call) -> None:
    first, second = make_context(attempt=1), make_context(attempt=2)
    from orchestrator.tools.atomic import part_name
    from orchestrator.tools.paths import Sandbox

    with Sandbox(project).place("file") as place:
        (project / part_name(place, first, 1)).write_text("half")
    call("filesystem", "write", path="file", content="whole", using=second)
    assert sorted(each.name for each in project.iterdir()) == ["file"]


def test_files_are_synced_before_and_folders_after_the_rename(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def syncing(descriptor: int) -> None:
        order.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def renaming(*names: Any, **folders: Any) -> None:
        order.append("rename")
        rename(*names, **folders)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    call("filesystem", "write", path="file", content="x")
    assert order == ["sync file", "rename", "sync folder"]


# append -----------------------------------------------------------------------------------------------------------


def test_append_once_for_each_task(call: Call, project: Path, make_context: Call) -> None:
    one, two = make_context(task_id="one"), make_context(task_id="two")
    first = call("filesystem", "append", path="log", content="a\n", using=one)
    call("filesystem", "append", path="log", content="b", newline=True, using=two)
    again = call("filesystem", "append", path="log", content="a\n", using=make_context(task_id="one", attempt=2))
    assert (project / "log").read_text() == "a\nb\n"
    assert first == again == {"path": "log", "offset": 0, "size": 2}
    call("filesystem", "append", path="log", content={"ä": 1}, newline=True, using=make_context(task_id="three"))
    assert (project / "log").read_text() == 'a\nb\n{"ä": 1}\n'


def test_another_execution_appends_again(call: Call, project: Path, make_context: Call) -> None:
    for execution in ("first", "second"):
        call("filesystem", "append", path="log", content="a\n", using=make_context(execution_id=execution))
    assert (project / "log").read_text() == "a\na\n"


@pytest.mark.parametrize("written", [0, 1, 3])
def test_a_torn_addition_is_completed(call: Call, project: Path, make_context: Call, written: int) -> None:
    (project / "log").write_text("before\n")
    call("filesystem", "append", path="log", content="abc\n", using=make_context())
    os.truncate(project / "log", len("before\n") + written)
    call("filesystem", "append", path="log", content="abc\n", using=make_context(attempt=2))
    assert (project / "log").read_text() == "before\nabc\n"


def test_a_file_written_anew_is_appended_to_again(call: Call, project: Path, make_context: Call) -> None:
    call("filesystem", "append", path="log", content="abc\n", using=make_context())
    (project / "log").write_text("something else\n")
    call("filesystem", "append", path="log", content="abc\n", using=make_context(attempt=2))
    assert (project / "log").read_text() == "something else\nabc\n"


def test_steps_that_append_at_once(call: Call, project: Path, make_context: Call) -> None:
    def append(number: int) -> None:
        for attempt in (1, 2):
            context = make_context(task_id=f"t{number}", attempt=attempt)
            call("filesystem", "append", path="log", content=f"{number:04d}\n", using=context)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((project / "log").read_text().split()) == [f"{number:04d}" for number in range(8)]


def test_append_refuses_a_file_with_other_names(refused: Call, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("theirs")
    (project / "file").hardlink_to(tmp_path / "elsewhere")
    assert "hard links" in str(refused("filesystem", "append", path="file", content="x"))
    assert (tmp_path / "elsewhere").read_text() == "theirs"


REPEATING = """
import json, logging, os, signal, sys
from pathlib import Path
from orchestrator.tools import copying, default_registry
project = Path(sys.argv[1])
state = project.with_suffix(".state")
registry = default_registry()
for action in ("append", "copy"):
    registry.resolve("filesystem", action)  # imports once, before the forks

class Context:
    execution_id = "e"; task_id = "t"; idempotency_key = "e/t"; saved = None
    cancelled = False; inputs = {}; logger = logging.getLogger(); project = project
    def progress(self, *report): pass
    def reads(self, path): pass
    def writes(self, path): pass
    def save(self, saved): state.write_text(json.dumps(saved))

def repeat(attempt_of):
    for attempt in range(1, 100):
        pid = os.fork()
        if pid == 0:
            context = Context()
            context.attempt = attempt
            context.saved = json.loads(state.read_text()) if state.exists() else None
            attempt_of(attempt, context)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            print(attempt)
            return
        assert os.WTERMSIG(status) == signal.SIGKILL, status
"""

KILLED_APPEND = (
    REPEATING
    + """
def append(attempt, context):
    left = attempt
    def killing(real):
        def act(*a, **k):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*a, **k)
        return act
    for name in ("write", "fsync", "rename", "ftruncate", "open", "pread", "unlink"):
        setattr(os, name, killing(getattr(os, name)))
    registry.resolve("filesystem", "append").function("log", "line\\n", context=context)
repeat(append)
"""
)


def repeated(script: str, project: Path) -> int:
    """Run attempts that are killed, each in a process of its own, and return the number of the one that ended."""
    command = [sys.executable, "-c", script, str(project)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def test_append_happens_once_wherever_it_is_killed(project: Path) -> None:
    (project / "log").write_text("before\n")
    assert repeated(KILLED_APPEND, project) > 10
    assert (project / "log").read_text() == "before\nline\n"


# copy -------------------------------------------------------------------------------------------------------------


def test_copy(call: Call, project: Path, context: Any) -> None:
    data = os.urandom(3_000_000)
    (project / "big").write_bytes(data)
    (project / "big").chmod(0o640)
    result = call("filesystem", "copy", source="big", destination="to/copy")
    assert result == {"path": "to/copy", "size": len(data), "sha256": sha256(data)}
    assert (project / "to" / "copy").read_bytes() == data
    assert stat.S_IMODE((project / "to" / "copy").stat().st_mode) == 0o640
    assert context.reports[-1] == (len(data), len(data), "copied")
    assert leftovers(project) == []


def test_copy_an_empty_or_read_only_file(call: Call, project: Path) -> None:
    (project / "empty").touch(0o444)
    assert call("filesystem", "copy", source="empty", destination="copy")["size"] == 0
    assert stat.S_IMODE((project / "copy").stat().st_mode) == 0o444


class Stopped(Exception):
    pass


def interrupted_copy(
    call: Call, project: Path, make_context: Call, monkeypatch: pytest.MonkeyPatch, after: int = 3
) -> tuple[bytes, Any]:
    """Copy 5 chunks, ended after some of them; return the data and what was saved."""
    monkeypatch.setattr(copying, "CHUNK", 1000)
    monkeypatch.setattr(copying, "SAVE_EVERY", 1000)
    data = os.urandom(5000)
    (project / "big").write_bytes(data)
    context = make_context()

    def stop() -> None:
        if len(context.reports) == after:
            raise Stopped

    context.on_progress = stop
    with pytest.raises(Stopped):
        call("filesystem", "copy", source="big", destination="copy", using=context)
    assert not (project / "copy").exists()
    return data, context.saved


def test_a_copy_goes_on_where_it_was_stopped(
    call: Call, project: Path, make_context: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, saved = interrupted_copy(call, project, make_context, monkeypatch)
    assert saved["copied"] == 2000
    second = make_context(attempt=2, saved=saved)
    result = call("filesystem", "copy", source="big", destination="copy", using=second)
    assert [report[0] for report in second.reports] == [3000, 4000, 5000]
    assert result["sha256"] == sha256(data)
    assert (project / "copy").read_bytes() == data
    assert leftovers(project) == []


@pytest.mark.parametrize("change", ["source", "part gone", "part shorter", "nothing saved", "other state"])
def test_a_copy_begins_anew_if_it_cannot_go_on(
    call: Call, project: Path, make_context: Call, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    data, saved = interrupted_copy(call, project, make_context, monkeypatch)
    (part,) = project.glob(".*.part")
    if change == "source":
        data = os.urandom(5000)
        (project / "big").write_bytes(data)
        os.utime(project / "big", ns=(1, 1))
    elif change == "part gone":
        part.unlink()
    elif change == "part shorter":
        os.truncate(part, 1500)
    elif change == "nothing saved":
        saved = None
    else:
        saved = ["something", "else"]
    second = make_context(attempt=2, saved=saved)
    result = call("filesystem", "copy", source="big", destination="copy", using=second)
    assert second.reports[0][0] == 1000
    assert result["sha256"] == sha256(data)
    assert (project / "copy").read_bytes() == data


def test_a_copy_ends_when_cancelled(refused: Call, project: Path, context: Any) -> None:
    (project / "big").write_bytes(b"x" * 100)
    context.cancelled = True
    assert refused("filesystem", "copy", source="big", destination="copy").kind == "cancelled"


def test_a_source_that_changes_meanwhile(
    refused: Call, project: Path, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "CHUNK", 10)
    (project / "big").write_bytes(b"x" * 100)
    context.on_progress = lambda: os.utime(project / "big", ns=(1, 1))
    error = refused("filesystem", "copy", source="big", destination="copy")
    assert (error.kind, error.retryable) == ("changed", True)
    assert not (project / "copy").exists()


KILLED_COPY = (
    REPEATING
    + """
copying.CHUNK = 100_000; copying.SAVE_EVERY = 300_000
def copy(attempt, context):
    reports = []
    def progress(*report):
        reports.append(report)
        if len(reports) == 7:
            os.kill(os.getpid(), signal.SIGKILL)
    context.progress = progress
    result = registry.resolve("filesystem", "copy").function("big", "copy", context=context)
    state.write_text(json.dumps(result))
repeat(copy)
"""
)


def test_a_copy_survives_being_killed_again_and_again(project: Path) -> None:
    data = os.urandom(2_000_000)  # 20 chunks; each attempt dies in its 7th and keeps 6
    (project / "big").write_bytes(data)
    assert repeated(KILLED_COPY, project) == 4
    result = json.loads(project.with_suffix(".state").read_text())
    assert result == {"path": "copy", "size": len(data), "sha256": sha256(data)}
    assert (project / "copy").read_bytes() == data
    assert leftovers(project) == []


def test_copy_without_overwriting(call: Call, refused: Call, project: Path) -> None:
    (project / "a").write_text("a")
    (project / "b").write_text("b")
    (project / "same").write_text("a")
    assert refused("filesystem", "copy", source="a", destination="b", overwrite=False).kind == "exists"
    assert call("filesystem", "copy", source="a", destination="same", overwrite=False)["sha256"] == sha256(b"a")


def test_copy_refuses(refused: Call, project: Path) -> None:
    (project / "a").write_text("a")
    (project / "folder").mkdir()
    (project / "hard").hardlink_to(project / "a")
    assert refused("filesystem", "copy", source="a", destination="a").kind == "path"
    assert refused("filesystem", "copy", source="a", destination="hard").kind == "path"
    assert refused("filesystem", "copy", source="a", destination="folder").kind == "path"
    assert refused("filesystem", "copy", source="folder", destination="b").kind == "path"
    assert refused("filesystem", "copy", source="none", destination="b").kind == "not_found"
    assert refused("filesystem", "copy", source="a", destination="../b").kind == "path"


# move, delete -----------------------------------------------------------------------------------------------------


def test_move_a_file_and_a_folder(call: Call, project: Path) -> None:
    (project / "a").write_text("a")
    (project / "folder").mkdir()
    assert call("filesystem", "move", source="a", destination="new/b") == {"path": "new/b"}
    assert call("filesystem", "move", source="folder", destination="other") == {"path": "other"}
    assert sorted(each.name for each in project.iterdir()) == ["new", "other"]
    assert (project / "new" / "b").read_text() == "a"


def test_a_move_may_be_repeated(call: Call, refused: Call, project: Path, make_context: Call) -> None:
    (project / "a").write_text("a")
    call("filesystem", "move", source="a", destination="b")
    assert refused("filesystem", "move", source="a", destination="b").kind == "not_found"
    later = make_context(attempt=2)
    assert call("filesystem", "move", source="a", destination="b", using=later) == {"path": "b"}
    with pytest.raises(TaskError, match="there is no file or folder 'a'"):
        call("filesystem", "move", source="a", destination="c", using=later)


def test_move_between_file_systems(call: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "a").write_text("a")
    rename = os.rename

    def other_device(source: str, destination: str, **folders: Any) -> None:
        if source == "a":
            raise OSError(18, "Invalid cross-device link")
        rename(source, destination, **folders)

    monkeypatch.setattr(os, "rename", other_device)
    call("filesystem", "move", source="a", destination="b")
    assert [each.name for each in project.iterdir()] == ["b"]


def test_move_refuses(refused: Call, project: Path) -> None:
    (project / "a").write_text("a")
    (project / "b").write_text("b")
    (project / "folder").mkdir()
    assert refused("filesystem", "move", source="a", destination="b", overwrite=False).kind == "exists"
    assert refused("filesystem", "move", source="a", destination="a").kind == "path"
    assert "'folder/a'" in str(refused("filesystem", "move", source="a", destination="folder"))
    assert refused("filesystem", "move", source="folder", destination="folder/in").kind == "path"
    assert refused("filesystem", "move", source="a", destination="../a").kind == "path"
    assert refused("filesystem", "move", source=".", destination="x").kind == "path"


def test_delete(call: Call, refused: Call, project: Path, make_context: Call, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("theirs")
    (project / "a").write_text("a")
    (project / "link").symlink_to(tmp_path / "outside")
    (project / "folder" / "deep").mkdir(parents=True)
    (project / "folder" / "deep" / "link").symlink_to(tmp_path)
    assert call("filesystem", "delete", path="a") == {"path": "a"}
    assert refused("filesystem", "delete", path="a").kind == "not_found"
    assert call("filesystem", "delete", path="a", missing_ok=True) == {"path": "a"}
    assert call("filesystem", "delete", path="a", using=make_context(attempt=2)) == {"path": "a"}
    assert "recursive" in str(refused("filesystem", "delete", path="folder"))
    call("filesystem", "delete", path="folder", recursive=True)
    call("filesystem", "delete", path="link")
    assert list(project.iterdir()) == []
    assert (tmp_path / "outside").read_text() == "theirs"


@pytest.mark.parametrize("path", [".", "..", "/", "/etc", "../outside", ".orchestrator", "x/.."])
def test_delete_refuses(refused: Call, project: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    (project / ".orchestrator").mkdir()
    (project / "x").mkdir()
    assert refused("filesystem", "delete", path=path, recursive=True, missing_ok=True).kind == "path"
    assert (tmp_path / "outside").is_dir()
    assert (project / ".orchestrator").is_dir()


# list, exists -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(project: Path) -> Path:
    for name in ("b.csv", "a.csv", "c.txt", "sub/d.csv", "sub/deep/e.csv", ".hidden/f.csv", "[x].csv"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / "link").symlink_to("sub")
    return project


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "[x].csv a.csv b.csv c.txt link sub"),
        ({"pattern": "*.csv"}, "[x].csv a.csv b.csv"),
        ({"pattern": "[ab].csv"}, "a.csv b.csv"),
        ({"pattern": "[!ab].csv"}, ""),
        ({"pattern": "?.*"}, "a.csv b.csv c.txt"),
        ({"pattern": "*.csv", "recursive": True}, "[x].csv a.csv b.csv sub/d.csv sub/deep/e.csv"),
        ({"pattern": "**/*.csv"}, "[x].csv a.csv b.csv sub/d.csv sub/deep/e.csv"),
        ({"pattern": "sub/*.csv", "recursive": True}, "sub/d.csv"),
        ({"pattern": "sub/**", "recursive": True}, "sub/d.csv sub/deep sub/deep/e.csv"),
        ({"path": "sub"}, "sub/d.csv sub/deep"),
        ({"path": "link"}, "sub/d.csv sub/deep"),
        ({"path": "sub", "pattern": "deep/*.csv", "recursive": True}, "sub/deep/e.csv"),
        ({"hidden": True, "pattern": "*.csv", "recursive": True},
         ".hidden/f.csv [x].csv a.csv b.csv sub/d.csv sub/deep/e.csv"),
        ({"pattern": ".*"}, ".hidden"),
        ({"pattern": "nothing"}, ""),
        ({"pattern": "("}, ""),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("tree")
def test_list(call: Call, options: dict[str, Any], found: str) -> None:
    result = call("filesystem", "list", **options)
    assert " ".join(entry["path"] for entry in result["entries"]) == found
    assert result["count"] == len(result["entries"])


@pytest.mark.usefixtures("tree")
def test_list_tells_types_and_sizes(call: Call) -> None:
    entries = {entry["name"]: entry for entry in call("filesystem", "list")["entries"]}
    assert entries["a.csv"] == {"path": "a.csv", "name": "a.csv", "type": "file", "size": 5}
    assert (entries["sub"]["type"], entries["sub"]["size"]) == ("folder", 0)
    assert entries["link"]["type"] == "link"


@pytest.mark.usefixtures("tree")
def test_list_refuses(refused: Call) -> None:
    assert refused("filesystem", "list", limit=3).kind == "too_large"
    assert refused("filesystem", "list", path="a.csv").kind == "path"
    assert refused("filesystem", "list", path="none").kind == "not_found"
    assert refused("filesystem", "list", path="..").kind == "path"


@pytest.mark.usefixtures("tree")
def test_exists(call: Call, refused: Call, project: Path) -> None:
    os.mkfifo(project / "fifo")
    assert call("filesystem", "exists", path="a.csv") == {"path": "a.csv", "exists": True, "type": "file", "size": 5}
    assert call("filesystem", "exists", path="link")["type"] == "folder"
    assert call("filesystem", "exists", path=".")["type"] == "folder"
    assert call("filesystem", "exists", path="fifo")["type"] == "other"
    for path in ("none", "none/x", "sub/none"):
        assert call("filesystem", "exists", path=path) == {"path": path, "exists": False, "type": None, "size": 0}
    assert refused("filesystem", "exists", path="../x").kind == "path"
    assert refused("filesystem", "exists", path="").kind == "path"
