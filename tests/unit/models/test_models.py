from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.models import Model, ModelRegistry, discovery, init_models, local

SECRET = "sk-canary-4242"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_", "ORCHESTRATOR_MODEL")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(discovery, "_known", None)
    monkeypatch.setattr(discovery, "_local", None)
    monkeypatch.setattr(local, "SERVERS", ())
    monkeypatch.setattr(local.find, "__defaults__", ((),))


def test_it_works_with_none(capsys: pytest.CaptureFixture[str]) -> None:
    models = init_models()
    assert (list(models), len(models), models.names, models.default) == ([], 0, [], None)
    assert models.get("x") is None
    with pytest.raises(UsageError, match="no AI model is configured: set OPENAI_API_KEY"):
        models.pick()
    with pytest.raises(UsageError, match="there is no model 'x'; there are none"):
        models.pick("x")
    with pytest.raises(KeyError):
        models["x"]
    assert capsys.readouterr() == ("", "")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from orchestrator.models import init_models; init_models(find_local=False);"
        "heavy = ('pydantic', 'http.client', 'ssl', 'asyncio', 'openai', 'urllib.request');"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (out.stdout, out.stderr) == ("[]\n", "")


def test_providers_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_MODEL", "large")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_MODEL", "small")
    models = init_models()
    assert models.names == ["small", "large", "google"]
    assert models.default == Model("small", "openai", "https://api.openai.com/v1", "small", "OPENAI_API_KEY")
    assert models["large"].provider == "anthropic"
    assert models["google"].model is None
    assert models["google"].key_variable == "GOOGLE_API_KEY"
    monkeypatch.setenv("GEMINI_API_KEY", SECRET)
    assert init_models()["google"].key_variable == "GEMINI_API_KEY"


def test_a_server_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_MODEL", "tiny")
    model = init_models()["tiny"]
    assert (model.base_url, model.key_variable, model.key()) == ("http://127.0.0.1:9/v1", None, None)


def test_a_model_alone_configures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "small")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert init_models().names == []


def test_a_key_is_read_when_it_is_needed_and_kept_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://user:{SECRET}@example.org/v1?key={SECRET}")
    models = init_models()
    model = models["openai"]
    assert model.key() == SECRET
    for text in (repr(model), repr(models), str(model), caplog.text):
        assert SECRET not in text
    assert repr(model) == "Model('openai', openai, https://example.org/v1, key_variable='OPENAI_API_KEY')"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.org/v1")
    assert SECRET.encode() not in pickle.dumps(init_models()["openai"])
    assert SECRET not in str(vars(init_models())) + str(vars(discovery)["_known"])
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError, match="set the environment variable OPENAI_API_KEY"):
        model.key()


def test_asking_again_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    first = init_models()
    assert init_models() is first
    monkeypatch.setenv("OPENAI_API_KEY", "two")
    assert init_models() is first
    monkeypatch.setenv("OPENAI_MODEL", "small")
    assert init_models() is not first


def test_the_default_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    monkeypatch.setenv("ORCHESTRATOR_MODEL", "anthropic")
    assert init_models().pick().name == "anthropic"
    monkeypatch.setenv("ORCHESTRATOR_MODEL", "antropic")
    models = init_models()
    with pytest.raises(
        UsageError, match=r"no model 'antropic' \(did you mean 'anthropic'\?\); there are openai, anthropic"
    ):
        models.pick()


def test_models_as_json_and_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entries = [
        {"name": "fast", "provider": "openai", "model": "m-1", "base_url": "http://x/v1", "key_variable": "MY_KEY"},
        {"model": "m-2"},
        {"name": "mine", "provider": "ollama"},
    ]
    monkeypatch.setenv("ORCHESTRATOR_MODELS", json.dumps(entries))
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    models = init_models()
    assert models.names == ["fast", "m-2", "mine", "openai"]
    assert models["fast"] == Model("fast", "openai", "http://x/v1", "m-1", "MY_KEY")
    assert models["mine"].base_url == "http://127.0.0.1:11434"
    (tmp_path / "models.json").write_text(json.dumps(entries))
    monkeypatch.setenv("ORCHESTRATOR_MODELS", str(tmp_path / "models.json"))
    assert init_models().names == models.names


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "neither JSON nor"),
        ("[" * 100_000, "neither JSON nor"),
        ("{}", "must be a list of models"),
        ("[5]", r"ORCHESTRATOR_MODELS\[0\] must be a mapping"),
        ('[{"name": 5}]', "must be a mapping of texts"),
        ('[{"provider": "openai"}]', "`name` is missing"),
        ('[{"name": ""}]', "`name` is missing"),
        ('[{"name": "a", "provider": "aol"}]', "no provider 'aol'; there are openai, anthropic, google, ollama"),
        ('[{"name": "a", "api_key": "sk-canary-4242"}]', "no field named api_key .*a key is not written here"),
        ('[{"name": "a", "base_url": "file:///etc/passwd"}]', r"\[0\].base_url must be an address"),
        ("/no/such/file", "names no file that can be read"),
        ("sk-canary-4242", "names no file that can be read"),
    ],
)
def test_models_that_cannot_be(monkeypatch: pytest.MonkeyPatch, text: str, reason: str) -> None:
    monkeypatch.setenv("ORCHESTRATOR_MODELS", text)
    with pytest.raises(UsageError, match=reason) as caught:
        init_models()
    assert SECRET not in str(caught.value)


def test_a_base_url_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"ftp://{SECRET}")
    with pytest.raises(UsageError, match="OPENAI_BASE_URL must be an address") as caught:
        init_models()
    assert SECRET not in str(caught.value)


def test_names_that_meet() -> None:
    models = ModelRegistry([Model("a", "openai", "x"), Model("a", "ollama", "y"), Model("a", "ollama", "z")])
    assert {name: model.base_url for name, model in models.items()} == {"a": "x", "ollama/a": "y"}
    assert models["ollama/a"].name == "ollama/a"


# Local servers ----------------------------------------------------------------------------------------------------

Answer = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], int]]:
    """Answer connections on a port of the loopback interface."""
    listening: list[socket.socket] = []

    def serving(answer: Answer) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def loop() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    answer(connection)

        threading.Thread(target=loop, daemon=True).start()
        return int(server.getsockname()[1])

    yield serving
    for server in listening:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def reply(body: Any, head: str = "HTTP/1.1 200 OK\r\n", extra: str = "") -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(f"{head}{extra}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    return answer


def ollama(port: int) -> tuple[str, int, str, str]:
    return ("ollama", port, "/api/tags", "")


def openai(port: int) -> tuple[str, int, str, str]:
    return ("openai", port, "/v1/models", "/v1")


def test_local_servers_are_found(serve: Callable[[Answer], int]) -> None:
    first = serve(reply({"models": [{"name": "llama3:8b"}, {"name": "qwen"}]}))
    second = serve(reply({"data": [{"id": "served"}]}))
    found = local.find((ollama(first), openai(second), openai(1)))
    assert found == (
        Model("llama3:8b", "ollama", f"http://127.0.0.1:{first}", "llama3:8b", local=True),
        Model("qwen", "ollama", f"http://127.0.0.1:{first}", "qwen", local=True),
        Model("served", "openai", f"http://127.0.0.1:{second}/v1", "served", local=True),
    )


def test_what_is_asked(serve: Callable[[Answer], int]) -> None:
    asked: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"data": [{"id": "a"}]}')

    port = serve(answer)
    assert [model.name for model in local.find((openai(port),))] == ["a"]
    assert asked[0].startswith(b"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n" % port)


def test_an_answer_in_chunks(serve: Callable[[Answer], int]) -> None:
    body = json.dumps({"data": [{"id": "chunked"}]}).encode()

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 10):
            part = body[start : start + 10]
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        time.sleep(0.05)

    assert [model.name for model in local.find((openai(serve(answer)),))] == ["chunked"]


def silent(_: socket.socket) -> None:
    time.sleep(1)


def dripping(connection: socket.socket) -> None:
    for _ in range(200):
        connection.sendall(b"H")
        time.sleep(0.01)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


ANSWERS: dict[str, Answer] = {
    "silent": silent,
    "dripping": dripping,
    "endless": endless,
    "closed": lambda connection: connection.close(),
    "not found": reply({"data": [{"id": "a"}]}, "HTTP/1.1 404 Not Found\r\n"),
    "redirect": reply(b"", "HTTP/1.1 302 Found\r\n", "Location: http://192.0.2.1/\r\n"),
    "html": reply(b"<html>"),
    "no http": lambda connection: connection.sendall(b"220 smtp ready\r\n"),
    "list": reply([1]),
    "text": reply("models"),
    "number": reply({"models": 5}),
    "null": reply({"data": None, "models": None}),
    "odd items": reply(
        {"data": [1, None, {}, {"id": 5}, {"id": "a\nb"}, {"id": "\x1b[31m"}, {"id": "x" * 201}, {"id": ""}]}
    ),
    "deep": reply(b"[" * 100_000),
    "bytes": reply(b"\xff\xfe"),
    "wrong length": reply(b"{}", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n"),
    "bad chunks": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_whatever_else_answers_offers_no_model(
    serve: Callable[[Answer], int], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = serve(ANSWERS[kind])
    started = time.monotonic()
    assert local.find((openai(port),)) == ()
    assert time.monotonic() - started < 0.6
    assert capsys.readouterr() == ("", "")


def test_slow_servers_are_asked_at_the_same_time(serve: Callable[[Answer], int]) -> None:
    good = serve(reply({"data": [{"id": "good"}]}))
    servers = (*(openai(serve(silent)) for _ in range(4)), openai(good))
    started = time.monotonic()
    assert [model.name for model in local.find(servers)] == ["good"]
    assert time.monotonic() - started < 0.6


def test_a_server_lists_so_many_models_at_most(serve: Callable[[Answer], int]) -> None:
    port = serve(reply({"data": [{"id": f"m{number}"} for number in range(1000)]}))
    assert len(local.find((openai(port),))) == 100


def test_local_models_come_last_and_are_asked_once(
    serve: Callable[[Answer], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve(reply({"models": [{"name": "mine"}]}))
    monkeypatch.setattr(local.find, "__defaults__", ((ollama(port),),))
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    models = init_models()
    assert models.names == ["openai", "mine"]
    assert models["mine"].local
    assert models["mine"].key() is None
    monkeypatch.setattr(local.find, "__defaults__", ((),))
    assert init_models() is models
    assert init_models(find_local=False).names == ["openai"]
    assert init_models(refresh=True).names == ["openai"]


def test_only_the_loopback_interface_is_asked() -> None:
    assert local._HOST == "127.0.0.1"
    code = (
        "import sys\nseen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(args[1]) if event == 'socket.connect' else None)\n"
        "from orchestrator.models import init_models\ninit_models()\nprint(seen)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[('127.0.0.1', 11434), ('127.0.0.1', 1234), ('127.0.0.1', 8080), ('127.0.0.1', 8000)]\n"


def test_asking_ports_that_nobody_listens_on_takes_no_time() -> None:
    started = time.monotonic()
    local.find((ollama(1), openai(1), openai(2), openai(3)))
    assert time.monotonic() - started < 0.2
