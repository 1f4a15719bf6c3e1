"""What a real PgBouncer says of its pools, to a login with no other right there."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, create_engine

import servers
from airfleet.runners.local import ports
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.metrics import METRICS
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.limits import LabelLimits
from airfleet_provider.exporter.pooler import PoolerLoop
from deadline import PATIENCE_S, wait_until
from servers import as_nobody, give_away

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no PgBouncer here: tools/pgbouncer installs it")
POOL = 2
CONFIG = """\
[databases]
shop = host=127.0.0.1 port={server} dbname=postgres user=postgres pool_size={pool}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
%include {folder}/tls.ini
"""


class Pooler:
    """A PgBouncer in front of a server, and the loop that reads it."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process, self.board = folder, process, Board()
        self.login: dict[str, Any] = {"host": "127.0.0.1", "port": port, "dbname": "shop"}
        self.login |= {"user": "airflow", "password": "secret", "target_session_attrs": "read-write"}
        self._loop = PoolerLoop(self.board, LabelLimits(), self.login)

    def allow(self, *logins: str) -> None:
        (self.folder / "tls.ini").write_text(f"stats_users = {', '.join(logins)}\n")
        self.process.send_signal(signal.SIGHUP)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(**self.login, prepare_threshold=None)

    def read(self) -> Mapping[str, dict[tuple[str, ...], float]]:
        context = Context("pooler", {}, AgentsLease("host:1"), threading.Event(), lambda own: connect(self.login, own))
        self._loop.once(context)
        series = self.board.facts["pooler"].series
        return {name: {labels: amounts[0] for labels, amounts in found.items()} for name, found in series.items()}

    def is_up(self) -> bool:
        return self.read()["airfleet_pooler_up"] == {(): 1.0}


@pytest.fixture
def pooler(server: servers.Server) -> Iterator[Pooler]:
    assert PGBOUNCER
    with tempfile.TemporaryDirectory(prefix="airfleet-pooler-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), ports.find_free()
        (folder / "pgbouncer.ini").write_text(CONFIG.format(server=server.port, pool=POOL, port=port, folder=folder))
        (folder / "users.txt").write_text('"airflow" "secret"\n')
        (folder / "tls.ini").write_text("")
        give_away(folder)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [PGBOUNCER, str(folder / "pgbouncer.ini")], stdout=log, stderr=log, cwd="/", **as_nobody()
            )
        one = Pooler(folder, port, process)

        def answers() -> bool:
            with contextlib.suppress(psycopg.OperationalError), one.connect():
                return True
            return False

        try:
            wait_until(answers, "PgBouncer", seen=(folder / "log").read_text)
            yield one
        finally:
            process.kill()
            process.wait(PATIENCE_S)


def test_a_login_that_may_not_look_is_no_failure_of_the_loop_and_a_reload_lets_it(pooler: Pooler) -> None:
    assert pooler.read() == {"airfleet_pooler_up": {(): 0.0}}
    with pooler.connect() as held:
        pooler.allow("airflow", "airflow.1")
        wait_until(pooler.is_up, "the right to look")
        assert held.execute("SELECT 1").fetchall() == [(1,)], "the reload ended no connection"
    with (
        psycopg.connect(
            **{**pooler.login, "dbname": "pgbouncer", "target_session_attrs": "any"}, autocommit=True
        ) as own,
        pytest.raises(psycopg.Error, match="admin access needed"),
    ):
        own.execute("PAUSE")
    pooler.process.kill()
    wait_until(lambda: not pooler.is_up(), "the end of PgBouncer")


def test_clients_that_wait_for_a_full_pool_are_seen_and_so_is_their_wait(pooler: Pooler) -> None:
    pooler.allow("airflow")
    wait_until(pooler.is_up, "the right to look")
    before = pooler.read()["airfleet_pooler_transactions_total"]["shop",]

    def waits() -> bool:
        return pooler.read()["airfleet_pooler_clients"].get(("shop", "waiting")) == 1

    def ask() -> None:
        with pooler.connect() as late:
            late.execute("SELECT 1")

    with contextlib.ExitStack() as stack:
        for _ in range(POOL):
            stack.enter_context(pooler.connect()).execute("SELECT 1")  # a transaction that stays open
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        wait_until(waits, "a client that waits")
        found = pooler.read()
        assert found["airfleet_pooler_connections"]["shop", "active"] == POOL
        assert found["airfleet_pooler_connections_max"] == {("shop",): POOL}
        assert found["airfleet_pooler_longest_wait_seconds"]["shop",] > 0
        assert found.keys() <= METRICS.keys()
    thread.join(PATIENCE_S)
    wait_until(lambda: not waits(), "room in the pool")
    after = pooler.read()
    assert after["airfleet_pooler_longest_wait_seconds"] == {("shop",): 0}
    assert after["airfleet_pooler_transactions_total"]["shop",] > before


def test_no_statement_is_prepared_through_a_pooler(pooler: Pooler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next connection to the server may have another client's statement of the same name."""
    url = URL.create("postgresql+psycopg2", "airflow", "secret", "127.0.0.1", pooler.login["port"], "shop")
    monkeypatch.setattr("airflow.settings.engine", create_engine(url))
    with metadata_db.connect_prepared() as connection:
        for _ in range(5):
            assert connection.execute("SELECT %(number)s + 1 AS next", {"number": 1}).fetchone() == {"next": 2}
        assert connection.execute("SELECT count(*) AS kept FROM pg_prepared_statements").fetchone() == {"kept": 0}
