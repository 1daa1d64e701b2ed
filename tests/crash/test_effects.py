"""A process dies after the commit of an effect in a database, and before its result is recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.chaos

STEP = """\
  - id: {name}
    tool: sql
    action: execute
    parameters:
      url: "{url}"
      sql:
        - CREATE TABLE IF NOT EXISTS effect (n INTEGER)
        - INSERT INTO effect SELECT count(*) FROM effect
        - SELECT count(*) AS n FROM effect
"""
DATABASES = {"lite": "sqlite:///x.db", "duck": "duckdb:///x.duckdb", "server": "{{ inputs.server }}"}
PIPELINE = (
    "id: effects\ninputs: {server: {type: string}}\nsteps:\n"
    + "".join(STEP.format(name=name, url=url) for name, url in DATABASES.items())
    + 'outputs: {counts: "{{ [lite.result.data[0].n, duck.result.data[0].n, server.result.data[0].n] }}"}\n'
)


def test_an_effect_happens_once(tmp_path: Path, postgres_server_url: str, postgres_schemas: Callable[[], str]) -> None:
    schema = postgres_schemas()
    with psycopg.connect(postgres_server_url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {schema}".encode())
    (tmp_path / "p.yaml").write_text(PIPELINE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}

    def orchestrator(*arguments: str, dies_at_effect: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments, "--quiet", "--max-concurrency", "1"],
            cwd=tmp_path,
            env=kept | ({"ORCHESTRATOR_CRASH_POINT": f"after_effect:{dies_at_effect}"} if dies_at_effect else {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == (-9 if dies_at_effect else 0), done.stderr
        return done.stdout

    url = f"{postgres_server_url}?options=-csearch_path%3D{schema}"
    orchestrator("run", "p.yaml", "--execution-id", "e", "--input", f"server={url}", dies_at_effect=1)
    orchestrator("resume", "e", dies_at_effect=2)  # the first effect is the one that is not repeated
    orchestrator("resume", "e", dies_at_effect=2)
    assert json.loads(orchestrator("resume", "e").removeprefix("counts: ")) == [1, 1, 1]
