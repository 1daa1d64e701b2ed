"""What a plan sees of files, and what the shipped tools tell of theirs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.files import FileSeen, missing
from orchestrator.errors import TaskError
from orchestrator.executors.traces import Notes
from orchestrator.tools import looking
from orchestrator.tools.looking import ProjectFiles, matches
from tests.unit.tools.conftest import FakeContext

Call = Callable[..., Any]


def look(project: Path, path: str, known: FileSeen | None = None) -> FileSeen:
    return ProjectFiles().look(project, path, known)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_told_by_path_size_time_and_digest(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data/a.csv").write_text("x" * 3_000_000)
    about = (project / "data/a.csv").stat()
    expected = FileSeen("data/a.csv", 3_000_000, about.st_mtime_ns, sha("x" * 3_000_000))
    for path in ("data/a.csv", "./data//a.csv", "data/../data/a.csv", str(project / "data/a.csv")):
        assert look(project, path) == expected


def test_a_file_outside_of_the_project_is_only_told_by_its_absolute_path(project: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.bin").write_text("x")
    assert (
        look(project, "../shared.bin")[0] == look(project, str(tmp_path / "shared.bin"))[0] == f"{tmp_path}/shared.bin"
    )


def test_what_is_known_is_read_again_only_if_it_changed(project: Path) -> None:
    (project / "a").write_text("one")
    known = look(project, "a")._replace(digest="as remembered")
    assert look(project, "a", known) == known
    assert look(project, "a", missing("a")).digest == sha("one")
    os.utime(project / "a", ns=(known.modified, known.modified + 1))
    assert look(project, "a", known).digest == sha("one")
    (project / "a").write_text("three")
    os.utime(project / "a", ns=(known.modified, known.modified))
    assert look(project, "a", known).digest == sha("three")


def test_links_are_followed_and_keep_their_names(project: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (project / "link").symlink_to(tmp_path / "real")
    (project / "broken").symlink_to("nowhere")
    (project / "self").symlink_to("self")
    assert look(project, "link").path == "link"
    assert look(project, "link").digest == sha("x")
    assert look(project, "broken") == missing("broken")
    assert look(project, "self") == missing("self")


def test_a_project_that_is_a_link_is_the_same_project(project: Path, tmp_path: Path) -> None:
    (project / "a").write_text("x")
    (tmp_path / "again").symlink_to(project)
    assert look(tmp_path / "again", "a") == look(project, "a") == look(tmp_path / "again", str(project / "a"))


@pytest.mark.parametrize(
    "path", ["folder", "fifo", "nothing", "a/below", "", ".", "x" * 5000, "/dev/zero", "/proc/self/mem"]
)
def test_what_is_no_readable_file_is_missing_and_never_opened(path: str, project: Path) -> None:
    (project / "folder").mkdir()
    (project / "a").touch()
    os.mkfifo(project / "fifo")
    assert not look(project, path).there  # with a FIFO opened this would wait for ever


@pytest.mark.parametrize(("path", "shown"), [("a\0b", "a\0b"), ("a\udcffb", "a\\udcffb"), ("\ud800", "\\ud800")])
def test_what_no_path_can_be_is_missing(path: str, shown: str, project: Path) -> None:
    found = look(project, path)
    assert found == missing(shown)
    assert found.path.encode()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.csv", ["a.csv"]),
        ("none.csv", ["none.csv"]),
        ("*.csv", ["a.csv", "b.csv", "odd[1].csv"]),
        ("./*.csv", ["a.csv", "b.csv", "odd[1].csv"]),
        ("odd[1].csv", ["odd[1].csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("[!a].csv", ["b.csv"]),
        ("in/*/?.csv", ["in/er/c.csv"]),
        ("in/**/*.csv", ["in/d.csv", "in/er/c.csv"]),
        ("**/c.csv", ["in/er/c.csv"]),
        (".*.csv", [".hidden.csv"]),
        ("i*", []),
        ("none/*", []),
        ("a.csv/*", []),
        ("*\0", []),
    ],
)
def test_patterns(pattern: str, expected: list[str], project: Path) -> None:
    (project / "in/er").mkdir(parents=True)
    for name in ("a.csv", ".hidden.csv", "odd[1].csv", "in/er/c.csv", "in/d.csv"):
        (project / name).touch()
    (project / "b.csv").symlink_to("a.csv")
    (project / "loop").symlink_to(".")
    assert matches(project, pattern) == expected


def test_an_absolute_pattern(project: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert matches(project, f"{tmp_path}/*.csv") == [f"{tmp_path}/a.csv"]
    assert matches(project, "/ro*t") == []  # a folder


@pytest.mark.parametrize(("pattern", "kind"), [("[z-a]", "pattern"), ("*", "too_large")])
def test_what_a_pattern_may_not_be(pattern: str, kind: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MOST_MATCHES", 2)
    for name in "abc":
        (project / name).touch()
    with pytest.raises(TaskError) as caught:
        matches(project, pattern)
    assert (caught.value.kind, caught.value.retryable) == (kind, False)


# The shipped tools


class Noting(FakeContext):
    """A context that takes what a tool has seen already, as the executors' own does."""

    @property
    def notes(self) -> Notes:
        found: Notes = self.__dict__.setdefault("_notes", Notes(self.project))
        return found

    def reads(self, path: str | Path) -> None:
        self.notes.read(os.fspath(path))

    def writes(self, path: str | Path) -> None:
        self.notes.write(os.fspath(path))

    def saw(self, file: FileSeen) -> None:
        self.notes.saw(file)

    def wrote(self, file: FileSeen) -> None:
        self.notes.wrote(file)


FILES = [
    ("read", {"path": "a"}, ["a"], []),
    ("write", {"path": "new/b", "content": "x"}, [], ["new/b"]),
    ("write", {"path": "a", "content": "x"}, [], ["a"]),
    ("append", {"path": "a", "content": "x"}, [], ["a"]),
    ("copy", {"source": "a", "destination": "b"}, ["a"], ["b"]),
    ("copy", {"source": "a", "destination": "same", "overwrite": False}, ["a"], ["same"]),
    ("copy", {"source": "link", "destination": "b"}, ["a"], ["b"]),
    ("move", {"source": "a", "destination": "b"}, [], ["a", "b"]),
    ("delete", {"path": "a"}, [], ["a"]),
    ("delete", {"path": "none", "missing_ok": True}, [], ["none"]),
    ("list", {"path": "."}, [], []),
    ("exists", {"path": "a"}, [], []),
]


@pytest.mark.parametrize(("action", "parameters", "reads", "writes"), FILES)
def test_what_the_filesystem_tells_is_what_is_there(
    action: str, parameters: dict[str, Any], reads: list[str], writes: list[str], call: Call, project: Path
) -> None:
    (project / "a").write_text("content")
    (project / "same").write_text("content")
    (project / "link").symlink_to("a")
    context = Noting(project)
    before = [look(project, path) for path in reads]
    call("filesystem", action, using=context, **parameters)
    written = [context.notes._writes[path] or look(project, path) for path in context.notes._writes]
    assert list(context.notes._reads.values()) == before
    assert written == [look(project, path) for path in writes]
    # Told in a later attempt as well, though its work is done already.
    again = Noting(project, attempt=2, saved=context.saved)
    if action in {"move", "delete", "append", "write"}:
        call("filesystem", action, using=again, **parameters)
        assert again.notes._writes.keys() == context.notes._writes.keys()


def test_a_copy_in_parts_is_told_as_it_is_there(call: Call, project: Path) -> None:
    (project / "a").write_bytes(os.urandom(5 << 20))
    context = Noting(project)
    call("filesystem", "copy", using=context, source="a", destination="b")
    assert context.notes._writes["b"] == look(project, "b")
    assert look(project, "b").digest == look(project, "a").digest


TABLES = [
    ("load", {"input": "a.csv"}, ["a.csv"], [".orchestrator/data/exec/task.parquet"]),
    ("convert", {"input": "a.csv", "output": "out/a.json"}, ["a.csv"], ["out/a.json"]),
    ("load", {"input": "*.csv", "as_rows": True}, ["a.csv", "b.csv"], []),
    (
        "join",
        {"left": "a.csv", "right": {"path": "b.csv"}, "on": "x", "output": "j.csv"},
        ["a.csv", "b.csv"],
        ["j.csv"],
    ),
    ("sql", {"query": "select 1", "as_rows": True}, [], []),
    ("process", {"input": [{"x": 1}], "output": "rows.parquet"}, [], ["rows.parquet"]),
    ("process", {}, [], []),
    ("load", {"input": "packed.zip", "as_rows": True}, ["packed.zip"], []),
]


@pytest.mark.parametrize(("action", "parameters", "reads", "writes"), TABLES)
def test_what_data_processing_tells_is_what_is_there(
    action: str, parameters: dict[str, Any], reads: list[str], writes: list[str], call: Call, project: Path
) -> None:
    pytest.importorskip("duckdb")
    (project / "a.csv").write_text("x,y\n1,2\n")
    (project / "b.csv").write_text("x,y\n1,2\n")
    shutil.make_archive(str(project / "packed"), "zip", project, "a.csv")
    context = Noting(project)
    call("data-processing", action, using=context, **parameters)
    assert list(context.notes._reads.values()) == [look(project, path) for path in reads]
    assert list(context.notes._writes.values()) == [look(project, path) for path in writes]


def test_any_other_context_is_told_by_path(call: Call, context: FakeContext, project: Path) -> None:
    (project / "a").write_text("content")
    call("filesystem", "copy", source="a", destination="b")
    assert (context.read, context.written) == (["a"], ["b"])
