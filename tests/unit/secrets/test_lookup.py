from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.cli import main
from orchestrator.compiler.templates import Templates
from orchestrator.errors import TaskError, UsageError
from orchestrator.secrets.files import SecretFiles, parsed
from orchestrator.secrets.lookup import SecretLookup
from orchestrator.settings import Settings, load_settings
from orchestrator.state.valuecodec import ValueCodec


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """The keyring's module with a backend that keeps everything in a dict."""
    kept: dict[tuple[str, str], str] = {}
    module = ModuleType("keyring")
    vars(module)["get_password"] = lambda service, name: kept.get((service, name))
    vars(module)["set_password"] = lambda service, name, value: kept.__setitem__((service, name), value)
    monkeypatch.setitem(sys.modules, "keyring", module)
    return kept


@pytest.fixture
def none_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


Look = Callable[..., SecretLookup]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    def make(secrets_file: str = "", **environ: str) -> SecretLookup:
        return SecretLookup(Settings(tmp_path, secrets_file=secrets_file), Templates(), ValueCodec(), environ)

    return make


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_first_place_that_has_a_name_decides(
    look: Look, tmp_path: Path, keyring: dict[tuple[str, str], str]
) -> None:
    private(tmp_path / "s.env", "A=from-the-file\nB=from-the-file\n")
    for name in "ABC":
        keyring["orchestrator", name] = "from-the-keyring"
    secrets = look("s.env", ORCHESTRATOR_SECRET_A="from-the-environment")
    assert [secrets.value(name) for name in "ABC"] == ["from-the-environment", "from-the-file", "from-the-keyring"]
    assert secrets.redactor.text("from-the-file from-the-keyring") == "*** ***"
    with pytest.raises(TaskError) as caught:
        secrets.value("D")
    assert caught.value.kind == "secret"
    assert secrets.find("D").tried == (
        "the variable ORCHESTRATOR_SECRET_D",
        f"the line D=... of {tmp_path / 's.env'}",
        "the keyring (orchestrator, D)",
    )


@pytest.mark.usefixtures("none_installed")
def test_a_folder_holds_a_secret_in_each_file(look: Look, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "..data").mkdir(parents=True)
    private(folder / "..data" / "token", "to-ken\r\n\n")
    (folder / "token").symlink_to("..data/token")  # as Kubernetes does it
    private(folder / "other", "\tas it is ")
    secrets = look("run")
    assert secrets.value("token") == "to-ken\r\n"
    assert secrets.value("other") == "\tas it is "
    assert SecretFiles(folder).names() == ["other", "token"]
    private(folder / "..data" / "token", "rotated")
    assert secrets.value("token") == "rotated"
    assert secrets.find("gone").tried[1:] == (str(folder / "gone"), "no keyring (the extra 'keyring' is not installed)")


def test_a_file_is_read_anew_when_it_has_changed(look: Look, tmp_path: Path) -> None:
    file = private(tmp_path / "s.env", "A=first\n")
    secrets = look("s.env")
    assert secrets.value("A") == "first"
    private(tmp_path / "new", "A=second\n").replace(file)
    assert secrets.value("A") == "second"
    assert secrets.redactor.text("first second") == "*** ***"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\n\n # x\n  export B = two words  \n", {"A": "1", "B": "two words"}),
        ("A='it''s'\n", None),
        ('A=\'a # b\' # c\nB="x\\n\\"y\\\\" \n', {"A": "a # b", "B": 'x\n"y\\'}),
        ("A='one\ntwo\n'\nB=#x=\n", {"A": "one\ntwo\n", "B": "#x="}),
        ('A="one\n  two"\n', {"A": "one\n  two"}),
        ("db-pass.1=\n", {"db-pass.1": ""}),
        ("A=1\nA=2", "line 2: A is there twice"),
        ("A=1\nhunter2\n", "line 2: expected NAME=value"),
        ("A='open\nB=hunter2\n", "line 1: the value of A does not end where its quotes do"),
    ],
)
def test_lines_of_a_file(text: str, found: dict[str, str] | str | None) -> None:
    if isinstance(found, dict):
        assert parsed(text, "f") == found
        return
    with pytest.raises(UsageError) as caught:
        parsed(text, "f")
    assert (found or "line 1") in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_use_is_refused(look: Look, tmp_path: Path, mode: int) -> None:
    file = private(tmp_path / "s.env", "A=hunter2\n")
    file.chmod(mode)
    with pytest.raises(UsageError, match=f"mode {mode:04o}.*chmod 600") as caught:
        look("s.env").find("A")
    assert "hunter2" not in str(caught.value)


def test_files_that_are_none(look: Look, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no "):
        look("missing.env").find("A")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(UsageError, match="is no file"):
        look("fifo").find("A")
    (tmp_path / "s.env").write_bytes(b"A=\xff\xfe\n")
    (tmp_path / "s.env").chmod(0o600)
    with pytest.raises(UsageError, match="no text in UTF-8"):
        look("s.env").find("A")
    private(tmp_path / "s.env", "A=" + "x" * (1 << 20))
    with pytest.raises(UsageError, match="larger than"):
        look("s.env").find("A")


@pytest.mark.parametrize(
    ("value", "fault"), [("", "it is empty"), ("abc", "shorter than 4"), ("ab\udc80cd", "no text")]
)
def test_values_that_cannot_be_used(look: Look, value: str, fault: str) -> None:
    found = look(ORCHESTRATOR_SECRET_A=value).find("A")
    assert found.value is None
    assert fault in found.fault
    assert "variable ORCHESTRATOR_SECRET_A" in found.fault


def test_a_keyring_that_fails_is_told_without_its_words(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("keyring")

    def fail(*_arguments: str) -> None:
        raise RuntimeError("hunter2")

    vars(module)["get_password"] = vars(module)["set_password"] = fail
    monkeypatch.setitem(sys.modules, "keyring", module)
    assert look().find("A").tried[-1] == "no keyring that answers (RuntimeError)"


def test_a_secret_is_kept_in_the_keyring(
    keyring: dict[tuple[str, str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = private(tmp_path / "given", "hunter2-long\n")
    with given.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["secrets", "set", "TOKEN"]) == 0
    assert keyring == {("orchestrator", "TOKEN"): "hunter2-long"}
    with given.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["secrets", "set", "../x"]) == 2
    said = capfd.readouterr()
    assert "hunter2" not in said.out + said.err
    assert "cannot name a secret" in said.err


def test_the_setting_and_its_variable(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.toml").write_text('secrets_file = "a"\n')
    assert load_settings(cwd=tmp_path, environ={}).secrets_file == "a"
    found = load_settings(cwd=tmp_path, environ={"ORCHESTRATOR_SECRETS_FILE": "b"})
    assert found == replace(found, secrets_file="b")
