"""What executions leave in their own folders goes with the last one that needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.tools.left import folder, forget, hold
from orchestrator.tools.looking import ProjectFiles


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / folder("first") / "clean.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"rows")
    return path


def path_of(table: Path, project: Path) -> str:
    return table.relative_to(project).as_posix()


def test_what_nobody_holds_goes_with_its_execution(tmp_path: Path, table: Path) -> None:
    forget(tmp_path, "first")
    assert not table.parent.exists()


def test_what_another_holds_stays_until_that_one_goes(tmp_path: Path, table: Path) -> None:
    for fork in ("fork", "Fork two"):
        hold(tmp_path, [path_of(table, tmp_path)], fork)
        hold(tmp_path, [path_of(table, tmp_path)], fork)
    forget(tmp_path, "first")
    forget(tmp_path, "fork")
    assert table.read_bytes() == b"rows"
    forget(tmp_path, "Fork two")
    assert not table.parent.exists()


def test_a_holder_that_goes_first_takes_nothing_along(tmp_path: Path, table: Path) -> None:
    hold(tmp_path, [path_of(table, tmp_path)], "fork")
    forget(tmp_path, "fork")
    assert table.exists()
    forget(tmp_path, "first")
    assert not table.parent.exists()


def test_only_folders_of_other_executions_are_held(tmp_path: Path, table: Path) -> None:
    (tmp_path / "mine.csv").write_text("x")
    hold(tmp_path, ["mine.csv", "/etc/hostname", path_of(table, tmp_path), ".orchestrator/data/gone/x"], "first")
    assert sorted(path.name for path in table.parent.iterdir()) == ["clean.parquet"]


def test_a_pattern_is_seen_as_the_list_of_what_matches(tmp_path: Path) -> None:
    files = ProjectFiles()
    none = files.look(tmp_path, "data/*.csv")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.csv").write_text("1")
    one = files.look(tmp_path, "data/*.csv")
    (tmp_path / "data/a.csv").write_text("2")
    assert files.look(tmp_path, "data/*.csv").same(one), "what is in the files is looked at file by file"
    (tmp_path / "data/b.csv").write_text("1")
    two = files.look(tmp_path, "data/*.csv")
    assert [seen.size for seen in (none, one, two)] == [0, 1, 2]
    assert not one.same(two)
