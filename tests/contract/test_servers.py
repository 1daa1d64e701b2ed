"""The servers and the proxy that other tests break things with do what they say."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from chaos.servers import ServerUnavailable
from chaos.servers.postgres import BIN_VARIABLE, PostgresServer, find_binaries
from chaos.servers.proxy import Proxy


@pytest.mark.chaos
def test_a_server_that_is_killed_or_stopped_comes_back_with_what_was_committed() -> None:
    with PostgresServer() as server:
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute("CREATE TABLE kept (number int)")
        for number, mode in enumerate(("kill", "immediate", "fast")):
            with psycopg.connect(server.url, autocommit=True) as db:
                db.execute("INSERT INTO kept VALUES (%s)", (number,))
                server.restart(mode)
                with pytest.raises(psycopg.OperationalError):
                    db.execute("SELECT 1")
        with psycopg.connect(server.url) as db:
            assert db.execute("SELECT count(*) FROM kept").fetchone() == (3,)
        folder = server.folder
    assert not folder.exists()


def test_the_proxy_passes_cuts_and_swallows(postgres_url: str) -> None:
    info = psycopg.conninfo.conninfo_to_dict(postgres_url.partition("?")[0])
    with Proxy(int(info["port"] or 5432), str(info["host"])) as proxy:
        info |= {"host": "127.0.0.1", "port": proxy.port}
        url = psycopg.conninfo.make_conninfo("", **info)

        def connect() -> psycopg.Connection[tuple[object, ...]]:
            return psycopg.connect(url, autocommit=True)

        with connect() as db:
            db.execute("CREATE TEMPORARY TABLE kept (number int)")
            before = proxy.pieces
            db.execute("SELECT 1")
            assert proxy.pieces == before + 2
            proxy.cut()
            with pytest.raises(psycopg.OperationalError):
                db.execute("SELECT 1")
        for piece in (1, 2):
            with connect() as db, connect() as other:
                proxy.cut_at(piece)
                with pytest.raises(psycopg.OperationalError):
                    db.execute("SELECT 1")
                assert other.execute("SELECT 1").fetchone() == (1,)
        with connect() as db, connect() as other:
            db.execute("SELECT set_config('application_name', 'victim', false)")
            proxy.swallow(lambda piece: b"swallowed" in piece)
            with pytest.raises(psycopg.OperationalError):
                db.execute("NOTIFY somebody, 'swallowed'")
            assert other.execute("SELECT 1").fetchone() == (1,)
        proxy.refusing = True
        with pytest.raises(psycopg.OperationalError):
            connect()
        assert proxy.cuts == 3


def test_a_missing_installation_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(BIN_VARIABLE, str(tmp_path))
    with pytest.raises(ServerUnavailable, match="no initdb"):
        find_binaries()
