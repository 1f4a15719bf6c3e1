"""The calls of tasks through a real PgBouncer with the settings of a database host: the server keeps their plans."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

import servers
from airfleet.components.hosts import database_urls
from airfleet.components.model import reveal
from airfleet.components.postgresql import pgbouncer
from airfleet.runners.local import ports
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.execution_api.command import open_rows
from airfleet_provider.execution_api.fast_path import Rows
from deadline import PATIENCE_S, wait_until
from places import CREDENTIALS, parse, parts, place
from servers import as_nobody, give_away

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no PgBouncer here: tools/pgbouncer installs it")
CRATE = "SELECT name FROM crate WHERE id = %(id)s"
KEPT = "SELECT count(*) AS kept FROM pg_prepared_statements WHERE strpos(statement, 'crate WHERE id') > 0"
RED = {"name": "red"}


class Pooler:
    """A PgBouncer with the files of a database host, but for its addresses, in front of a server of this test."""

    def __init__(self, folder: Path, server: servers.Server) -> None:
        self.port, self._folder = ports.find_free(), folder
        found = {file.path.name: reveal(file.content) for file in pgbouncer.describe(place(parse(), "data1")).files}
        config = found["pgbouncer.ini"].replace("port=5432 ", f"port={server.port} ").replace("6432", str(self.port))
        config = config.replace(str(pgbouncer.FOLDER), str(folder)).replace(",10.0.0.41", "")
        (folder / "pgbouncer.ini").write_text(config)
        (folder / "users.txt").write_text(found["users.txt"])
        (folder / "tls.ini").write_text("")
        give_away(folder)
        self.start()

    def start(self) -> None:
        assert PGBOUNCER
        words = [PGBOUNCER, str(self._folder / "pgbouncer.ini")]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd="/", **as_nobody())
        wait_until(self.answers, "PgBouncer", seen=(self._folder / "log").read_text)

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgresql"), prepare_threshold=None) as connection:
                return bool(connection.execute("SELECT 1").fetchall())
        except psycopg.OperationalError:
            return False

    def url(self, scheme: str) -> str:
        password = CREDENTIALS.platform.airflow.reveal()
        return f"{scheme}://airflow:{password}@127.0.0.1:{self.port}/airflow"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.serve() as one:
        password = CREDENTIALS.platform.airflow.reveal()
        one.query(f"CREATE ROLE airflow LOGIN PASSWORD '{password}'")
        one.query("CREATE DATABASE airflow OWNER airflow")
        yield one


@pytest.fixture
def pooler(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pooler]:
    with tempfile.TemporaryDirectory(prefix="airfleet-pooler-", ignore_cleanup_errors=True) as name:
        one = Pooler(Path(name), server)
        monkeypatch.setattr("airflow.settings.engine", create_engine(one.url("postgresql+psycopg2")))
        with psycopg.connect(one.url("postgresql"), autocommit=True) as connection:
            connection.execute("CREATE TABLE crate AS SELECT 1 AS id, 'red'::text AS name")
        try:
            yield one
        finally:
            one.stop()


def open_as_web_host() -> Rows:
    """What runs the statements of the fast path on a web host, by the environment of its service."""
    services = [one for part in parts("web1") for one in part.services]
    [env] = [service.env for service in services if service.name == "execution-api"]
    return open_rows(env)


def ask_often(rows: Rows) -> None:
    for _ in range(4):
        assert rows.ask(CRATE, {"id": 1}) == RED


def comes_back(rows: Rows) -> bool:
    """Ask once more; Airflow's own code answers a call that fails."""
    try:
        return rows.ask(CRATE, {"id": 1}) == RED
    except psycopg.OperationalError:
        return False


def heals(rows: Rows) -> None:
    """Assert that calls are answered again after a fault, and plans are kept again."""
    wait_until(partial(comes_back, rows), "the next call")
    ask_often(rows)
    assert rows.ask(KEPT, {}) == {"kept": 1}


def test_a_web_host_s_calls_keep_their_plans_and_a_reload_ends_none(pooler: Pooler) -> None:
    rows = open_as_web_host()
    ask_often(rows)
    assert rows.ask(KEPT, {}) == {"kept": 1}
    pooler.process.send_signal(signal.SIGHUP)
    assert pooler.answers()
    assert rows.ask(KEPT, {}) == {"kept": 1}, "a reload of PgBouncer ends no session"


def test_a_client_that_leaves_leaves_no_plan_to_the_next(pooler: Pooler) -> None:
    pids = set()
    for _ in range(2):
        with metadata_db.connect_prepared(sessions=database_urls.CALLS) as connection:
            assert connection.execute(KEPT).fetchone() == {"kept": 0}
            for _ in range(4):
                assert connection.execute(CRATE, {"id": 1}).fetchone() == RED
            assert connection.execute(KEPT).fetchone() == {"kept": 1}
            pids.add(connection.execute("SELECT pg_backend_pid() AS pid").fetchone()["pid"])
    assert len(pids) == 1, "both had the same session of the server"


def test_calls_go_on_after_the_end_of_sessions_server_and_pooler(server: servers.Server, pooler: Pooler) -> None:
    rows = open_as_web_host()
    ask_often(rows)
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'airflow'")
    heals(rows)
    server.stop(signal.SIGQUIT)
    assert not comes_back(rows)
    server.start()
    heals(rows)
    pooler.stop()
    assert not comes_back(rows)
    pooler.start()
    heals(rows)


def test_all_threads_of_every_web_host_have_a_session_and_those_of_a_dead_host_beside(pooler: Pooler) -> None:
    """So none waits for a session that PgBouncer keeps for a host which is gone."""
    fleet = parse()
    webs, threads = len(fleet.with_role("web")), 8
    name = f"{pooler.url('postgresql').rpartition('/')[0]}/{database_urls.CALLS}"
    held = [psycopg.connect(name, autocommit=True) for _ in range(2 * webs * threads)]
    try:
        pids = {connection.execute("SELECT pg_backend_pid()").fetchone() for connection in held}
        assert len(pids) == len(held)
    finally:
        for connection in held:
            connection.close()
