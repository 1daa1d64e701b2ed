"""What is left of secrets anywhere once real processes have run with them: nothing."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

import orchestrator as orc
from orchestrator import ExecutionFailed, Orchestrator, TaskContext
from orchestrator.errors import SecretsMissing
from orchestrator.settings import Settings
from orchestrator.tools.registry import ToolRegistry
from tests.e2e.cli_helpers import Program

TOKEN = 'c4n4ry+t/"ök&en"-7c1f'
PASSWORD = "c4n4ry-pass-93ab55"
KEY = "-----BEGIN KEY-----\nc4n4ryline0000aaaabbbb\nc4n4ryline1111ccccdddd\n-----END KEY-----"
STEPS = """
import base64, hashlib, html, json, logging, pathlib, traceback, urllib.parse
from orchestrator import TaskContext

def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()

def leak(context: TaskContext, token: str, header: str, key: str):
    raw = token.encode()
    forms = [token, header, json.dumps(header), repr(token), ascii(token), html.escape(token), raw.hex(), raw,
             urllib.parse.quote(token), urllib.parse.quote_plus(token), urllib.parse.urlencode({"t": token})]
    forms += [base64.b64encode(b"u" * pad + raw).decode() for pad in range(3)]
    forms += [base64.urlsafe_b64encode(b"u" * pad + raw + b":x") for pad in range(3)]
    for form in forms:
        context.logger.info("sees %s", form)
    try:
        raise ValueError(token)
    except ValueError:
        context.logger.exception("failed with it")
        if header.startswith("Bearer"):  # in the orchestrator's own process
            logging.getLogger("orchestrator.mine").error("and elsewhere", exc_info=True)
    context.progress(1, 2, f"holds {token}")
    context.save({"at": [token], token: 1})
    pathlib.Path(f"seen-{context.attempt}").write_text(digest(token + header + key))
    lines = key.splitlines()
    return {"forms": forms, "set": {token}, token: ("x", [header]), "lines": lines, "path": pathlib.Path("/x") / token}

def fail(context: TaskContext, token: str):
    context.save({"token": token})
    try:
        raise KeyError(token)
    except KeyError as error:
        if not pathlib.Path("mended").exists():
            raise RuntimeError(f"401 for {token}") from error
    return "mended"
"""
PIPELINE = """
id: secretive
steps:
  - id: leak
    tool: python
    action: "secret_steps:leak"
    parameters: {token: "{{ secrets.TOKEN }}", header: "Bearer {{ secrets.TOKEN }}", key: "{{ secrets.KEY }}"}
  - id: apart
    tool: python
    action: "secret_steps:leak"
    isolation: process
    parameters:
      token: "{{ secrets['pass-word'] }}"
      header: "{{ leak.result.set | length }} {{ secrets.TOKEN }}"
      key: k
  - id: shell
    tool: shell
    parameters:
      command: [sh, -c, 'env; tr "\\0" " " </proc/$PPID/cmdline; cat; echo "$T" >&2; echo "$T" | base64']
      env: {T: "{{ secrets.TOKEN }}"}
      input: "{{ secrets['pass-word'] }}"
  - id: fail
    tool: python
    action: "secret_steps:fail"
    dependencies: [shell, leak, apart]
    parameters: {token: "{{ secrets.TOKEN }}"}
outputs: {all: "{{ leak.result }}", said: "{{ shell.result.stdout }}"}
"""


def forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    for text in (secret, json.dumps(secret)[1:-1], html.escape(secret), quote(secret), quote_plus(secret), raw.hex()):
        yield text.encode()
    for pad in range(3):
        encoded = base64.b64encode(bytes(pad) + raw)[pad + 1 : -4]
        yield encoded
        yield encoded.replace(b"+", b"-").replace(b"/", b"_")


CANARIES = {form for secret in (TOKEN, PASSWORD, *KEY.splitlines()[1:3]) for form in forms(secret)} | {b"c4n4ry"}


def clean(*texts: str | bytes) -> None:
    for text in texts:
        data = text if isinstance(text, bytes) else text.encode()
        for canary in CANARIES:
            assert canary not in data, data[max(0, data.find(canary) - 200) :][:400]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path)
    (tmp_path / "secret_steps.py").write_text(STEPS)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    file = tmp_path / "secrets.env"
    file.write_text(f"# theirs\npass-word={PASSWORD}\nKEY='{KEY}'\nTOKEN=not-this-one\n")
    file.chmod(0o600)
    (tmp_path / "orchestrator.toml").write_text('secrets_file = "secrets.env"\n')
    return program


def test_no_secret_is_left_in_store_logs_or_output(program: Program) -> None:
    env = {"ORCHESTRATOR_SECRET_TOKEN": TOKEN}
    with program.start("--debug", "run", "p.yaml", "--execution-id", "e1", env=program.environment(**env)) as first:
        said, told = first.communicate(timeout=60)
    assert first.returncode == 1, told
    assert "401 for ***" in told
    assert "sees ***" in told
    assert "ValueError: ***" in told.partition("and elsewhere")[2]
    clean(said, told)

    shown = [
        program.within(*command)
        for command in (
            ("show", "e1"),
            ("show", "e1", "--json"),
            *(("show", "e1", step, "--json") for step in ("leak", "apart", "shell", "fail")),
            ("history", "e1", "--json"),
            ("logs", "e1", "--json"),
            ("plan", "e1", "--json"),
            ("explain", "e1", "leak"),
            ("explain", "e1", "apart", "--json"),
        )
    ]
    for ended in shown:
        clean(ended.stdout, ended.stderr)
    step = json.loads(program.within("show", "e1", "apart", "--json").stdout)
    assert step["parameters"] == {"token": "{{ secrets['pass-word'] }}", "header": "1 {{ secrets.TOKEN }}", "key": "k"}
    assert "Bearer {{ secrets.TOKEN }}" in program.within("explain", "e1", "leak").stdout

    # A rotated secret makes no finished step run again, and is what the next attempt is given.
    before = (program.folder / "seen-1").read_text()
    (program.folder / "mended").touch()
    rotated = "c4n4ry-rotated-77"
    done = program("--debug", "resume", "e1", env={"ORCHESTRATOR_SECRET_TOKEN": rotated})
    clean(done.stdout, done.stderr)
    assert (program.folder / "seen-1").read_text() == before
    assert "leak: started" not in done.stdout + done.stderr
    output = program.within("show", "e1", "--json")
    clean(output.stdout)
    assert json.loads(output.stdout)["status"] == "completed"

    seen = [path for path in (program.folder / ".orchestrator").rglob("*") if path.is_file()]
    assert any(path.name == "store.db" for path in seen)
    clean(*(path.read_bytes() for path in seen))
    with sqlite3.connect(program.folder / ".orchestrator" / "store.db") as db:
        clean("\n".join(db.iterdump()))


def test_what_is_missing_is_told_before_anything_runs(program: Program) -> None:
    (program.folder / "secrets.env").write_text("KEY=abc\n")
    done = program.within("run", "p.yaml", "--execution-id", "e1", code=2)
    assert done.stdout == ""
    for part in (
        "nothing was run",
        "secrets.TOKEN: not in the variable ORCHESTRATOR_SECRET_TOKEN, the line TOKEN=... of ",
        "used in step leak: parameters.token, leak: parameters.header, apart: parameters.header and 2 more",
        "secrets.KEY: found in the line KEY=... of ",
        "shorter than 4 characters",
        "secrets['pass-word']: not in ",
        "used in step apart: parameters.token, shell: parameters.input",
        "orchestrator secrets list",
    ):
        assert part in done.stderr, part
    assert "no executions" in (listed := program.within("list")).stdout + listed.stderr
    table = program.within("secrets", "list", "p.yaml", code=2)
    assert "MISSING: not in the variable ORCHESTRATOR_SECRET_TOKEN" in table.stdout


def test_a_resume_without_its_secrets_changes_nothing(program: Program) -> None:
    text = """
    id: p
    steps: [{id: a, tool: python, action: "secret_steps:fail", parameters: {token: "{{ secrets.T }}"}}]
    """
    (program.folder / "q.yaml").write_text(text)
    program.within("run", "q.yaml", "--execution-id", "e1", code=1, ORCHESTRATOR_SECRET_T=TOKEN)
    before = program.within("history", "e1", "--json").stdout
    done = program.within("resume", "e1", code=2)
    assert "secrets.T: not in" in done.stderr
    assert program.within("history", "e1", "--json").stdout == before
    (program.folder / "mended").touch()
    program.within("resume", "e1", ORCHESTRATOR_SECRET_T=TOKEN)
    again = program.within("resume", "e1")  # nothing is left to run, so no secret is asked for
    assert "nothing" in again.stdout + again.stderr


def test_names_and_places_are_listed_but_no_value(program: Program) -> None:
    done = program.within("secrets", "list", "p.yaml", ORCHESTRATOR_SECRET_TOKEN=TOKEN)
    assert "the variable ORCHESTRATOR_SECRET_TOKEN" in done.stdout
    assert "secrets.env" in done.stdout
    lines = program.within("secrets", "list", "p.yaml", "--json", ORCHESTRATOR_SECRET_TOKEN=TOKEN).stdout
    assert [json.loads(line)["name"] for line in lines.splitlines()] == ["TOKEN", "KEY", "pass-word"]
    doctor = program.within("doctor", ORCHESTRATOR_SECRET_TOKEN=TOKEN)
    assert "1 in the environment (ORCHESTRATOR_SECRET_...), 3 in " in doctor.stdout
    clean(done.stdout, lines, doctor.stdout)


@pytest.mark.parametrize("place", ["input", "pipeline"])
def test_a_value_where_a_name_belongs_is_refused(program: Program, place: str) -> None:
    literal = PASSWORD if place == "pipeline" else "x"
    (program.folder / "q.yaml").write_text(f"""
    id: p
    inputs: {{word: {{default: ""}}}}
    steps:
      - id: a
        tool: shell
        parameters: {{command: [echo, "{literal}"], input: "{{{{ secrets['pass-word'] }}}}"}}
    """)
    arguments = ["-i", f"word=Bearer {PASSWORD}"] if place == "input" else []
    done = program.within("run", "q.yaml", *arguments, code=2)
    assert "holds the value of a secret" in done.stderr
    clean(done.stderr)


@dataclass
class Card:
    """A class of the user's own, which nobody looks into."""

    number: str


orc.register(Card)


def tools(*functions: Callable[..., object], **options: Any) -> ToolRegistry:
    registry = ToolRegistry(**options) if options else ToolRegistry(sources=[])
    for function in functions:
        registry.register(function.__name__, function)
    return registry


@pytest.fixture
def orchestrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[ToolRegistry], Orchestrator]:
    monkeypatch.setenv("ORCHESTRATOR_SECRET_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return lambda registry: Orchestrator(settings=Settings(tmp_path), tools=registry)


def one_step(tool: str, registry: ToolRegistry, **more: Any) -> orc.Pipeline:
    step = {"id": "a", "tool": tool} | {"parameters": {"token": "{{ secrets.TOKEN }}"}} | more
    return orc.Pipeline.from_dict({"id": "p", "steps": [step], "outputs": {"it": "{{ a.result }}"}}, tools=registry)


async def test_a_secret_in_a_header_reaches_the_server_and_nobody_else(
    orchestrator: Callable[[ToolRegistry], Orchestrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head.decode("latin-1"))
        body = json.dumps({"you sent": head.decode("latin-1")}).encode()
        status = b"401 Unauthorized" if len(heads) == 2 else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\n" % status)
        writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    registry = tools(allow_hosts=("127.0.0.1",))
    monkeypatch.setenv("ORCHESTRATOR_SECRET_TOKEN", PASSWORD)  # a header takes no umlauts
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/?q={{{{ secrets.TOKEN }}}}"
    async with server, orchestrator(registry) as runner:
        parameters: dict[str, Any] = {"url": url, "headers": {"X-Own": "k={{ secrets.TOKEN }}"}}
        parameters["auth"] = {"basic": {"user": "me", "password": "{{ secrets.TOKEN }}"}}
        done = await runner.run_pipeline(one_step("http", registry, parameters=parameters))
        basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        assert f"Basic {basic}" in heads[0]
        assert f"x-own: k={PASSWORD}" in heads[0].lower()
        assert "x-own: k=***" in done.outputs["it"]["json"]["you sent"].lower()
        with pytest.raises(ExecutionFailed) as caught:
            await runner.run_pipeline(one_step("http", registry, parameters=parameters), execution_id="e2")
        facts = [event async for _seq, event in runner.facts("e2")]
    clean(repr(done), str(caught.value), repr(facts))
    assert len(heads) == 2


async def test_a_value_in_what_nobody_looks_into_fails_the_attempt(
    orchestrator: Callable[[ToolRegistry], Orchestrator], tmp_path: Path
) -> None:
    async def card(token: str) -> Card:
        return Card(token)

    async def big(token: str) -> dict[str, Any]:
        return {"large": [f"{number} {token}" for number in range(9000)], token: b"\0" * 70_000 + token.encode()}

    registry = tools(card, big)
    async with orchestrator(registry) as runner:
        with pytest.raises(ExecutionFailed, match="holds the value of a secret, and it cannot be replaced there"):
            await runner.run_pipeline(one_step("card", registry))
        done = await runner.run_pipeline(one_step("big", registry))
    assert done.outputs["it"]["large"][8999] == "8999 ***"
    assert done.outputs["it"]["***"].endswith(b"\0***")
    clean(*(path.read_bytes() for path in (tmp_path / ".orchestrator").rglob("*") if path.is_file()))


async def test_each_attempt_is_given_the_value_as_it_is_then(
    orchestrator: Callable[[ToolRegistry], Orchestrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def rotate(token: str, context: TaskContext) -> str:
        seen.append(token)
        if context.attempt == 1:
            monkeypatch.setenv("ORCHESTRATOR_SECRET_TOKEN", "another-by-now")
            raise ValueError("expired")
        if context.attempt == 2:
            monkeypatch.delenv("ORCHESTRATOR_SECRET_TOKEN")
            raise ValueError("expired, too")
        return token

    registry = tools(rotate)
    retry = {"max_attempts": 3, "delay": 0.001}
    async with orchestrator(registry) as runner:
        with pytest.raises(ExecutionFailed, match=r"secrets\.TOKEN is not there any more"):
            await runner.run_pipeline(one_step("rotate", registry, retry=retry), execution_id="e1")
        assert seen == [TOKEN, "another-by-now"]
        monkeypatch.setenv("ORCHESTRATOR_SECRET_TOKEN", "third-of-them")
        done = await runner.resume_pipeline("e1")
        plan = await runner.plan("e1")
        assert plan.changes_nothing
    assert seen[2:] == ["third-of-them"]
    assert done.outputs == {"it": "***"}


async def test_a_value_that_only_looks_like_a_secret_is_data(
    orchestrator: Callable[[ToolRegistry], Orchestrator],
) -> None:
    async def say(token: str, word: str) -> str:
        return word.replace(token, "found")

    registry = tools(say)
    pipeline = one_step(
        "say",
        registry,
        parameters={"token": "{{ secrets.TOKEN }}", "word": "{{ execution.id }} {{ '{{' }} secrets.TOKEN }}"},
    )
    async with orchestrator(registry) as runner:
        done = await runner.run_pipeline(pipeline, execution_id="e1")
    assert done.outputs == {"it": "e1 {{ secrets.TOKEN }}"}


async def test_steps_in_steps_and_items_name_secrets_too(
    orchestrator: Callable[[ToolRegistry], Orchestrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def take(token: str) -> str:
        seen.append(token)
        return f"got {token}"

    registry = tools(take)
    inner = {"id": "ask", "tool": "take", "parameters": {"token": "{{ secrets.TOKEN }} {{ item }}"}}
    each = {"id": "each", "for_each": [1, 2], "steps": [inner]}
    alone = {"id": "one", "for_each": ["x"], "tool": "take", "parameters": {"token": "{{ secrets.OTHER }}"}}
    pipeline = orc.Pipeline.from_dict({"id": "p", "steps": [each, alone]}, tools=registry)
    async with orchestrator(registry) as runner:
        with pytest.raises(SecretsMissing, match=r"secrets\.OTHER: .*; used in step one: parameters\.token"):
            await runner.run_pipeline(pipeline)
        uses = {name: [use.step for use in found] for name, (found, _place) in runner.find_secrets(pipeline).items()}
        assert uses == {"TOKEN": ["each.ask"], "OTHER": ["one"]}
        monkeypatch.setenv("ORCHESTRATOR_SECRET_OTHER", PASSWORD)
        await runner.run_pipeline(pipeline, execution_id="e1")
        facts = [event async for _seq, event in runner.facts("e1")]
    assert sorted(seen) == sorted([f"{TOKEN} 1", f"{TOKEN} 2", PASSWORD])
    clean(repr(facts))
