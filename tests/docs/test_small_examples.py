"""The small examples, each run as its first lines say, smaller where it would take long."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.cli import main
from tests.docs.blocks import ROOT

PAGES = 4


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "example"
    shutil.copytree(ROOT / "examples" / request.param, folder)
    monkeypatch.chdir(folder)
    return folder


def run(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    ended = main(["run", "pipeline.yaml", "--quiet", *words])
    out, err = capfd.readouterr()
    assert ended == code, (out, err)
    return out if code == 0 else err


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize("example", ["fan-out"], indirect=True)
def test_fan_out(example: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "files: 12\n" in run(capfd, "-i", "count=12", "--execution-id", "words")
    assert len(list((example / "texts").iterdir())) == 12
    assert main(["show", "words", "count"]) == 0
    assert "holds   12 items" in capfd.readouterr().out


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize("example", ["etl"], indirect=True)
def test_etl(example: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert '"total": 42.5' in run(capfd)
    assert "2 of 6 rows left out" in (example / "out/gate.txt").read_text()
    assert (example / "out/totals.csv").read_text().splitlines()[1:] == ["ann,42.5", "bob,27.75"]
    assert "2 rows are bad" in run(capfd, "-i", "tolerated=0", code=1)


@pytest.fixture
def api() -> Iterator[tuple[str, list[int]]]:
    """Serve pages of items, and note which were asked for."""
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = int(parse_qs(urlsplit(self.path).query)["page"][0])
            asked.append(page)
            body = json.dumps({"items": [page] * 2, "next": page + 1 if page < PAGES else None}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/items", asked
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize("example", ["harvest"], indirect=True)
def test_harvest(example: Path, api: tuple[str, list[int]], capfd: pytest.CaptureFixture[str]) -> None:
    url, asked = api
    with (example / "orchestrator.toml").open("a") as file:
        file.write('allow_hosts = ["127.0.0.1"]\n')
    assert run(capfd, "-i", f"url={url}") == f"pages: {PAGES}\n"
    assert asked == [1, 2, 3, 4]
    assert json.loads((example / "pages/3.json").read_text()) == [3, 3]
