from __future__ import annotations

import json
import logging
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.observe.lines import cut
from orchestrator.observe.logs import StepLog, read_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = logging.getLogger("orchestrator.task")


def say(text: str, *args: Any, execution: str = "e1", task: str = "t", level: int = logging.INFO) -> None:
    LOGGER.log(level, text, *args, extra={"execution_id": execution, "task_id": task, "attempt": 2})


def hear(log: StepLog, text: str) -> None:
    """Give a line to the handler alone: pytest would keep it too, and xdist chokes on surrogates."""
    log.handle(
        logging.makeLogRecord(
            {"msg": text, "levelname": "INFO", "execution_id": "e1", "task_id": "t", "attempt": 2},
        )
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def log(folder: Path) -> Iterator[StepLog]:
    log = StepLog(folder)
    log.install()
    log.begin("e1")
    yield log
    log.close()
    assert log not in LOGGER.handlers
    assert LOGGER.level == logging.NOTSET


def messages(folder: Path, **options: Any) -> list[str]:
    return [line["message"] for line in read_logs(folder, "e1", **options)]


def test_a_line_tells_when_how_loud_who_and_what(log: StepLog, folder: Path) -> None:
    assert log.level == logging.NOTSET
    say("read %d rows", 7)
    (line,) = read_logs(folder, "e1")
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "INFO", "task": "t", "attempt": 2, "message": "read 7 rows"}


def test_files_are_for_their_owner_only(log: StepLog, folder: Path) -> None:
    del log
    say("x")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "e1.jsonl").stat().st_mode) == 0o600


def test_debug_is_kept_only_when_asked_for(log: StepLog, folder: Path) -> None:
    del log
    say("quiet", level=logging.DEBUG)
    assert messages(folder) == []
    assert not folder.exists()


def test_lines_of_other_executions_and_of_nobody_are_left_out(log: StepLog, folder: Path) -> None:
    say("other", execution="e2")
    LOGGER.info("nobody")
    log.end("e1")
    say("after the end")
    log.begin("../e1")
    say("outside", execution="../e1")
    assert not folder.exists()


def test_reading_one_task_and_the_tail(log: StepLog, folder: Path) -> None:
    del log
    for number in range(10):
        say("%d", number, task=f"t{number % 2}")
    assert messages(folder, tail=3) == ["7", "8", "9"]
    assert messages(folder, task="t0", tail=2) == ["6", "8"]
    assert messages(folder, task="t9") == []
    assert messages(folder, tail=0) == []


def test_reading_survives_torn_and_foreign_lines(log: StepLog, folder: Path) -> None:
    say("first")
    log.end("e1")
    with (folder / "e1.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n[1]\n{"time": "2030')
    assert messages(folder) == ["first"]
    log.begin("e1")
    say("after the crash")
    assert messages(folder) == ["first", "after the crash"]


def test_there_may_be_no_log_but_not_of_a_malformed_id(folder: Path) -> None:
    assert messages(folder) == []
    with pytest.raises(UsageError):
        read_logs(folder, "../secrets")


@pytest.mark.parametrize("character", ["x", "é", "\x1b", "\udc80", '"'], ids=["x", "e", "esc", "half", "quote"])
def test_a_huge_line_is_cut(log: StepLog, folder: Path, character: str) -> None:
    text = character * 100_000
    hear(log, text)
    (line,) = (folder / "e1.jsonl").read_bytes().splitlines()
    assert len(line) <= 8192
    message = json.loads(line)["message"]
    assert message[:100] == text[:100] or text[0] == "\udc80"
    assert "bytes in all)" in message


def test_control_characters_and_surrogates_are_kept_escaped_on_one_line(log: StepLog, folder: Path) -> None:
    hear(log, "a\nb\x1b[31m\x00\udc80é")
    assert (folder / "e1.jsonl").read_bytes().count(b"\n") == 1
    assert messages(folder) == ["a\nb\x1b[31m\x00\udc80é"]


def test_an_exception_is_part_of_the_line(log: StepLog, folder: Path) -> None:
    del log
    try:
        raise ValueError("bad")
    except ValueError:
        LOGGER.exception("oh", extra={"execution_id": "e1", "task_id": "t", "attempt": 1})
    (text,) = messages(folder)
    assert text.startswith("oh\nTraceback")


def test_a_log_past_its_bound_turns_over_and_says_so(folder: Path) -> None:
    log = StepLog(folder, max_bytes=2000)
    log.install()
    log.begin("e1")
    for number in range(100):
        say("%d", number)
    log.close()
    texts = messages(folder)
    assert texts[-1] == "99"
    assert any("passed 2000 bytes" in text for text in texts)
    numbers = [int(text) for text in texts if text.isdigit()]
    assert numbers == list(range(numbers[0], 100))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4500
    assert sorted(path.name for path in folder.iterdir()) == ["e1.jsonl", "e1.jsonl.1"]


def test_a_log_that_cannot_be_written_disturbs_no_task(
    log: StepLog, folder: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_text("a file where the folder should be")
    for _ in range(5):
        say("lost")
    warnings = [record for record in caplog.records if record.name == "orchestrator.observe"]
    assert len(warnings) == 1
    assert "e1" in warnings[0].getMessage()
    assert capsys.readouterr() == ("", "")
    folder.unlink()
    say("kept")
    log.end("e1")
    assert messages(folder) == ["kept"]


def test_a_link_in_the_place_of_a_log_is_not_followed(log: StepLog, folder: Path, tmp_path: Path) -> None:
    del log
    folder.mkdir()
    target = tmp_path / "target"
    target.write_text("precious")
    (folder / "e1.jsonl").symlink_to(target)
    say("x")
    assert target.read_text() == "precious"


def test_threads_and_executions_do_not_mix(log: StepLog, folder: Path) -> None:
    log.begin("e2")

    def talk(execution: str) -> None:
        for number in range(300):
            say("%s %d", execution, number, execution=execution)

    threads = [threading.Thread(target=talk, args=(name,)) for name in ("e1", "e2", "e1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, count in (("e1", 600), ("e2", 300)):
        lines = [line["message"] for line in read_logs(folder, name)]
        assert len(lines) == count
        assert all(line.startswith(name) for line in lines)


def test_cutting_keeps_whole_characters() -> None:
    assert cut("short", 64) == "short"
    assert cut("é" * 100, 64).startswith("éé")
    assert len(cut("é" * 100, 64).encode()) <= 64
