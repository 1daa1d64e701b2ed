"""The commands around the language: `schema`, `fmt`, `init`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.cli.init import TEMPLATES
from orchestrator.compiler import json_schema
from orchestrator.settings import load_settings
from tests.e2e.cli_helpers import Program

MESSY = "steps: [{tool: shell, id: a}] # all\n"
NEAT = "steps:  # all\n  - id: a\n    tool: shell\n"


def run(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    ended = main(words)
    out, err = capfd.readouterr()
    assert ended == code, (out, err)
    assert "Traceback" not in err
    return out, err


# -- schema ------------------------------------------------------------------------------------------------------


def test_the_schema_is_printed_or_written(capfd: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capfd, "schema")[0]) == json_schema()
    out, err = run(capfd, "schema", "--output", "s.json")
    assert (out, err) == ("", "wrote s.json\n")
    assert json.loads(Path("s.json").read_text()) == json_schema()


@pytest.mark.parametrize("place", ["nowhere/s.json", ".", "n" * 300])
def test_a_schema_that_cannot_be_written(place: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "cannot be written" in run(capfd, "schema", "-o", place, code=2)[1]
    assert list(Path().iterdir()) == []


# -- fmt ---------------------------------------------------------------------------------------------------------


def test_files_are_formatted_in_place_and_keep_links_and_permissions(capfd: pytest.CaptureFixture[str]) -> None:
    Path("real.yaml").write_text(MESSY)
    Path("real.yaml").chmod(0o640)
    Path("link.yaml").symlink_to("real.yaml")
    Path("neat.yaml").write_text(NEAT)
    before = Path("neat.yaml").stat()
    assert run(capfd, "fmt", "link.yaml", "neat.yaml") == ("", "formatted link.yaml\n")
    assert Path("real.yaml").read_text() == NEAT
    assert Path("real.yaml").stat().st_mode & 0o777 == 0o640
    assert Path("link.yaml").is_symlink()
    assert Path("neat.yaml").stat().st_mtime_ns == before.st_mtime_ns
    assert sorted(map(str, Path().iterdir())) == ["link.yaml", "neat.yaml", "real.yaml"]


def test_check_and_diff_write_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(MESSY)
    Path("neat.yaml").write_text(NEAT)
    assert run(capfd, "fmt", "--check", "a.yaml", "neat.yaml", code=1) == ("", "would format a.yaml\n")
    out, _ = run(capfd, "fmt", "--diff", "a.yaml", "neat.yaml")
    assert out.splitlines()[:4] == ["--- a.yaml", "+++ a.yaml (formatted)", "@@ -1 +1,3 @@", f"-{MESSY.rstrip()}"]
    assert run(capfd, "fmt", "--check", "--diff", "a.yaml", code=1)[0] == out
    assert run(capfd, "fmt", "--check", "neat.yaml") == ("", "")
    assert Path("a.yaml").read_text() == MESSY


def test_stdin_is_formatted_to_stdout(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for words, out, code in (([], NEAT, 0), (["--check"], "", 1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MESSY.encode())))
        assert run(capfd, "fmt", "-", *words, code=code)[0] == out


def test_what_cannot_be_formatted_is_told_and_left(capfd: pytest.CaptureFixture[str]) -> None:
    texts = {
        "shape.yaml": b"steps:\n  - {id: a, tol: x}\n",
        "yaml.yaml": b"a: b: c\n",
        "bytes.yaml": b"id: \xff\n",
        "directive.yaml": b"%YAML 1.2\n---\nsteps: [{id: a, tool: x}]\n",
        "good.yaml": MESSY.encode(),
    }
    for name, text in texts.items():
        Path(name).write_bytes(text)
    _, err = run(capfd, "fmt", *texts, "missing.yaml", ".", code=2)
    for part in (
        "shape.yaml:2:13  steps[0].tol: unknown key 'tol' (did you mean 'tool'?)",
        "yaml.yaml:1:5  not YAML",
        "bytes.yaml:1:5  not UTF-8",
        "missing.yaml  there is no such file",
        "directive.yaml is left as it is: a file with directives (%YAML, %TAG) cannot be formatted: remove them",
        "this is a folder, not a file",
    ):
        assert part in err
    assert Path("good.yaml").read_text() == NEAT  # the others do not keep it back
    assert all(Path(name).read_bytes() == text for name, text in texts.items() if name != "good.yaml")
    assert "directives" in run(capfd, "fmt", "directive.yaml", code=2)[1]
    assert "Missing argument 'FILE...'" in run(capfd, "fmt", code=2)[1]


# -- init --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_pipeline_runs_at_once(template: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capfd, "init", "new", "--template", template)
    assert out.splitlines()[:3] == ["wrote pipeline.yaml, steps.py, orchestrator.toml in new", "next:", "  cd new"]
    folder = tmp_path / "new"
    program = Program.__new__(Program)
    program.folder = folder
    program.within("fmt", "--check", "pipeline.yaml")
    assert load_settings(cwd=folder, environ={}).project == folder
    done = program("run", "pipeline.yaml").stdout
    assert {"hello": "said: HELLO, WORLD", "etl": "regions: 3", "python": "largest: 1223"}[template] in done


def test_init_writes_over_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    Path("steps.py").write_text("mine")
    Path(".gitignore").write_text("*.log\n__pycache__/")
    assert "this file is there already: steps.py (name another folder, or" in run(capfd, "init", code=2)[1]
    assert sorted(map(str, Path().iterdir())) == [".gitignore", "steps.py"]
    run(capfd, "init", "--force")
    assert "def greeting" in Path("steps.py").read_text()
    assert Path(".gitignore").read_text() == "*.log\n__pycache__/\n.orchestrator/\n"
    run(capfd, "init", "--force")
    assert Path(".gitignore").read_text() == "*.log\n__pycache__/\n.orchestrator/\n"


def test_init_into_what_is_no_folder(capfd: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    Path("dangling").mkdir()
    Path("dangling/steps.py").symlink_to("nowhere")
    assert "cannot be used: it is no folder" in run(capfd, "init", "file", code=2)[1]
    assert "cannot be used: it is no folder" in run(capfd, "init", "file/inner", code=2)[1]
    Path("loop").symlink_to("loop")
    assert "cannot be used" in run(capfd, "init", "loop", code=2)[1]
    assert "this file is there already: dangling/steps.py" in run(capfd, "init", "dangling", code=2)[1]
    assert "'nosuch' is not one of 'hello', 'etl', 'python'" in run(capfd, "init", "--template", "nosuch", code=2)[1]


def test_the_templates_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capfd, "init", "--list")
    assert [line.split()[0] for line in out.splitlines()] == ["TEMPLATE", *TEMPLATES]
    assert list(Path().iterdir()) == []
