from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator as orc
from orchestrator import Orchestrator
from orchestrator.compiler.places import compile_at, python_place
from orchestrator.tools.scripts import module_of

SCRIPT = """
import orchestrator as orc
from pathlib import Path

print("loaded")

@orc.task
def first() -> int:
    with open("ran", "a") as log:
        log.write("first\\n")
    return 1

@orc.task
def second(n: int) -> int:
    if not Path("online").exists():
        raise ConnectionError("down")
    return n + 1

@orc.pipeline
def counting() -> int:
    return second(first())

"""
CALL = "counting.run_sync(execution_id='one')\n"


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("a.yaml", None),
        ("a", None),
        ("a:b", ("a", "b")),
        ("a.b:c.d", ("a.b", "c.d")),
        ("x y/a-b.py:c", ("x y/a-b.py", "c")),
        ("x/a:b", None),
        ("a:", None),
        (":b", None),
        ("a:1", None),
        ("file.yaml:b-c", None),
    ],
)
def test_a_place_is_a_file_or_a_name_in_python(text: str, python: tuple[str, str] | None) -> None:
    assert python_place(text) == python


def test_a_file_of_such_a_name_is_a_file() -> None:
    Path("a:b").write_text("steps: [{id: x, tool: shell, parameters: {command: [echo]}}]")
    assert python_place("a:b") is None
    assert list(compile_at("a:b").tasks) == ["x"]


def test_what_is_wrong_with_a_place_is_told_like_any_mistake_of_a_definition() -> None:
    Path("places_a.py").write_text("NUMBER = 1\ndef f(): pass\n")
    Path("places_b.py").write_text("1 / 0\n")
    Path("places_c.py").write_text(
        "import orchestrator as orc\n@orc.pipeline\ndef p(): return {}['gone']\n@orc.pipeline\ndef q(): pass\n"
    )
    Path("places-d.py").touch()
    Path("queue.py").touch()
    for place, message in {
        "nowhere.py:x": "nowhere.py  there is no such file",
        "nowhere:x": "nowhere:x  cannot import 'nowhere'",
        "places_a.py": "name the pipeline in it: places_a.py:NAME",
        "places_a.py:numbers": "module 'places_a' has no pipeline 'numbers'",
        "places_a.py:NUMBER": "this is int, not a pipeline",
        "places_a:f": "this is a function, not a pipeline (a function becomes one by @orc.pipeline)",
        "places_b.py:x": "cannot import 'places_b': ZeroDivisionError",
        "places_c.py:p": "KeyError: 'gone' (",
        "places_c.py:q": "steps: a pipeline needs at least one step",
        "places-d.py:x": "'places-d' cannot be imported; rename the file",
        "queue.py:x": "Python's library has a module 'queue' of its own",
        "/etc/x.py:y": "there is no such file",
    }.items():
        with pytest.raises(orc.DefinitionError) as caught:
            compile_at(place)
        assert message in str(caught.value), place


def test_a_file_outside_of_the_project_or_hidden_by_another_is_not_taken_for_it(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "places_e.py").touch()
    with pytest.raises(orc.UsageError, match="outside of the project folder"):
        module_of(other / "places_e.py")
    Path("places_e.py").touch()
    monkeypatch.syspath_prepend(str(other))
    with pytest.raises(orc.DefinitionError, match="imports 'places_e' from another place"):
        compile_at("places_e.py:x")


def test_the_nearest_folder_that_python_looks_into_names_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("src/pkg").mkdir(parents=True)
    Path("src/pkg/mod.py").touch()
    assert module_of("src/pkg/mod.py") == "src.pkg.mod"
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    assert module_of("src/pkg/mod.py") == "pkg.mod"


async def test_a_script_runs_its_own_functions_and_another_process_goes_on_by_its_file_name() -> None:
    Path("scripts").mkdir()
    Path("scripts/places_script.py").write_text(f'{SCRIPT}if __name__ == "__main__":\n    {CALL}')
    done = subprocess.run([sys.executable, "scripts/places_script.py"], capture_output=True, text=True, check=False)
    assert "ConnectionError" not in done.stdout
    assert "orchestrator resume one" in done.stderr, done.stderr
    assert done.stdout.count("loaded") == 1  # its functions are found where they are
    Path("online").touch()
    async with Orchestrator() as orchestrator:
        result = await orchestrator.resume_pipeline("one")
        assert result.outputs == {"result": 2}
        state = await orchestrator.get_state("one")
    assert state.pipeline is not None
    assert [task.action for task in state.pipeline.tasks.values()] == [
        "scripts.places_script:first",
        "scripts.places_script:second",
    ]
    assert Path("ran").read_text() == "first\n"


def test_a_script_that_whoever_resumes_would_run_again_is_refused() -> None:
    Path("places_bare.py").write_text(f"{SCRIPT}{CALL}")
    done = subprocess.run([sys.executable, "places_bare.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'put what only the script is to do below `if __name__ == "__main__":`' in done.stderr
    assert not Path("ran").exists()


async def test_the_place_is_recorded_and_a_changed_file_noticed() -> None:
    Path("places_kept.py").write_text(SCRIPT)
    Path("online").touch()
    pipeline = orc.compile("places_kept.py:counting")
    await pipeline.run(execution_id="kept")
    async with Orchestrator() as orchestrator:
        plan = await orchestrator.plan("kept")
        assert plan.source.path == "places_kept.py:counting"
        assert orchestrator.definition_on_disk(plan) == ""
        Path("places_kept.py").write_text(SCRIPT + "# more\n")
        note = orchestrator.definition_on_disk(plan)
        assert note.startswith("places_kept.py has changed since")
        assert "--pipeline places_kept.py:counting" in note
