from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools.paths import ALLOW_PATHS, Sandbox


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture(autouse=True)
def inside(project: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(ALLOW_PATHS, raising=False)
    (project / "data").mkdir()
    (project / "data" / "a").write_text("a")
    (project / "inner").symlink_to("data")
    (project / "absolute").symlink_to(project / "data" / "a")
    (project / "leak").symlink_to(outside)
    (project / "data" / "up").symlink_to("../../outside")
    (project / "file-leak").symlink_to(outside / "secret")
    (project / "root").symlink_to("/proc/self/root")
    (project / "cwd").symlink_to("/proc/self/cwd")
    (project / "loop").symlink_to("loop")
    (project / "ping").symlink_to("pong")
    (project / "pong").symlink_to("ping")
    (project / "dangling").symlink_to("data/new")
    os.mkfifo(project / "fifo")
    descriptors = open_files()
    yield
    assert open_files() == descriptors


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths that are gone


def read(sandbox: Sandbox, path: str) -> str:
    with sandbox.place(path) as place:
        descriptor = place.open(os.O_RDONLY)
        with os.fdopen(descriptor) as file:
            return f"{place.path}={file.read()}"


@pytest.mark.parametrize(
    "path",
    [
        "data/a", "./data/a", "data//a", "data/./a", "data/../data/a", "inner/a", "absolute", "inner/../data/a",
        "{project}/data/a", "{project}//data/a", "{project}/data/../data/a", "{project}/inner/a", "../project/data/a",
        "data/up/../project/data/a",  # out and in again: nothing outside is opened for it
    ],
)  # fmt: skip
def test_paths_inside(project: Path, path: str) -> None:
    assert read(Sandbox(project), path.format(project=project)) == "data/a=a"


@pytest.mark.parametrize(
    "path",
    [
        "../outside/secret", "data/../../outside/secret", "leak/secret", "data/up/secret", "inner/up/secret",
        "file-leak", "{outside}/secret", "/etc/passwd", "/", "..", "root/etc/passwd", "cwd/x", "//etc/passwd",
        "/proc/self/root/etc/passwd", "/dev/null", "/dev/stdin", "{project}/../outside/secret", "{project}-x/a",
        "../" * 50 + "etc/passwd", "{project}/./../outside/secret",
    ],
)  # fmt: skip
@pytest.mark.parametrize("create", [False, True])
def test_paths_that_lead_outside(project: Path, outside: Path, path: str, create: bool) -> None:
    with pytest.raises(TaskError, match="leads outside the project folder") as caught:  # noqa: SIM117
        with Sandbox(project).place(path.format(project=project, outside=outside), create=create):
            pass
    assert (caught.value.kind, caught.value.retryable) == ("path", False)
    assert "put its folder into ORCHESTRATOR_ALLOW_PATHS" in str(caught.value)
    assert [each.name for each in outside.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "the path is empty"),
        ("a\0b", "NUL"),
        ("\ud800", "cannot be a file name"),
        ("x" * 300, "File name too long"),
        ("x/" * 3000, "there is no folder 'x'"),
        ("loop", "too many symlinks"),
        ("ping/x", "too many symlinks"),
        ("fifo", "'fifo' is a FIFO, not a file"),
        ("data", "'data' is a folder, not a file"),
        (".", "is a folder, not a file"),
        ("data/a/b", "'data/a' is not a folder"),
        ("fifo/b", "'fifo' is not a folder"),
        ("nothing", "there is no file 'nothing'"),
        ("nothing/x", "there is no folder 'nothing'"),
        ("dangling", "there is no file 'data/new'"),
        ("C:\\x", "there is no file"),
        ("\\\\?\\C:\\x", "there is no file"),
        ("a:b", "there is no file"),
    ],
)
def test_paths_that_cannot_be_read(project: Path, path: str, text: str) -> None:
    with pytest.raises(TaskError, match=r".") as caught:
        read(Sandbox(project), path)
    assert text in str(caught.value)
    assert caught.value.kind in ("path", "not_found")


def test_sockets_are_no_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("sock")
        with pytest.raises(TaskError, match="'sock' is a socket, not a file"):
            read(Sandbox(project), "sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_are_not_opened(project: Path) -> None:
    try:
        os.mknod(project / "device", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices here")
    with pytest.raises(TaskError, match="'device' is a device, not a file"):
        read(Sandbox(project), "device")


def test_further_folders_can_be_allowed(project: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = Sandbox(project, [outside])
    for path in ("leak/secret", "../outside/secret", f"{outside}/secret", "data/up/secret", "file-leak"):
        assert read(allowed, path) == f"{outside}/secret=secret"
    monkeypatch.setenv(ALLOW_PATHS, f"/nowhere{os.pathsep}{outside}")
    assert read(Sandbox(project), "leak/secret").endswith("=secret")
    with pytest.raises(TaskError, match="leads outside"):
        read(Sandbox(project), "/etc/passwd")
    monkeypatch.setenv(ALLOW_PATHS, "")
    with pytest.raises(TaskError, match="leads outside"):
        read(Sandbox(project), "leak/secret")


def test_a_project_behind_a_symlink(project: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(project)
    for path in ("data/a", f"{link}/data/a", f"{project}/data/a"):
        assert read(Sandbox(link), path) == "data/a=a"


def test_folders_on_the_way_are_made_inside_only(project: Path, outside: Path) -> None:
    with Sandbox(project).place("x/y/z", create=True) as place:
        assert (place.name, place.path, place.stat()) == ("z", "x/y/z", None)
    assert (project / "x" / "y").is_dir()
    with pytest.raises(TaskError, match="leads outside"), Sandbox(project).place("leak/new/x", create=True):
        pass
    assert not (outside / "new").exists()


def test_what_a_link_points_to_is_written(project: Path) -> None:
    with Sandbox(project).place("dangling", change=True) as place:
        assert place.path == "data/new"
    with Sandbox(project).place("dangling", change=True, follow=False) as place:
        assert place.path == "dangling"


@pytest.mark.parametrize(
    "path", [".", "data/..", ".orchestrator", ".orchestrator/store.db", ".orchestrator/data", "data/../.orchestrator/x"]
)
def test_the_project_itself_and_the_store_are_not_for_tools_to_change(project: Path, path: str) -> None:
    (project / ".orchestrator" / "data").mkdir(parents=True)
    with pytest.raises(TaskError, match=r"cannot be replaced or removed|belongs to the store"):  # noqa: SIM117
        with Sandbox(project).place(path, change=True):
            pass
    with Sandbox(project).place(".orchestrator/data/x", change=True) as place:
        assert place.name == "x"


def test_the_store_behind_a_symlink_is_guarded_too(project: Path) -> None:
    (project / ".orchestrator").mkdir()
    (project / "alias").symlink_to(".orchestrator")
    with (
        pytest.raises(TaskError, match="belongs to the store"),
        Sandbox(project).place("alias/store.db", change=True),
    ):
        pass


def test_a_folder_swapped_for_a_symlink_meanwhile(project: Path, outside: Path) -> None:
    """Two threads: one swaps the folder for a link to the outside, the other must never read what is there."""
    (project / "swap").mkdir()
    (project / "swap" / "secret").write_text("inside")
    (project / "link").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (project / "swap").rename(project / "kept")
            (project / "link").rename(project / "swap")
            (project / "swap").rename(project / "link")
            (project / "kept").rename(project / "swap")

    sandbox = Sandbox(project, [])
    thread = threading.Thread(target=swap)
    thread.start()
    told = {"inside": 0, "refused": 0}
    try:
        for _ in range(int(os.environ.get("ORCHESTRATOR_TEST_RACES", "4000"))):
            try:
                assert read(sandbox, "swap/secret").endswith("=inside")
                told["inside"] += 1
            except TaskError:
                told["refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert told["inside"]
    assert told["refused"]
