"""The commands of an upgrade migrate the schema back to that of an older Airflow, and forward again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airfleet.operations.upgrade import schema
from airfleet.operations.upgrade.schema import Revision
from airfleet_provider.contract.migrations import runner
from airfleet_provider.liveness import process_probe
from deadline import COMMAND_S
from servers import Server, serve

pytestmark = pytest.mark.local

# What Airflow 3.2 wants.
OLDER = frozenset({Revision("alembic_version", "1d6611b6ab7c")})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with Airflow's newest schema. Every test leaves the schema at that version."""
    with serve() as server:
        airflow(server, tmp_path_factory.mktemp("home"), "db", "migrate")
        yield server


def test_the_schema_goes_back_and_forward_again(server: Server, tmp_path: Path) -> None:
    newest = read(server)
    said = subprocess.run(["sh", "-c", schema.ask_wanted(Path(sys.prefix))], capture_output=True, check=True)
    assert schema.parse(said.stdout.decode()) == newest
    assert {one.table for one in newest} == set(schema.CHAINS)
    assert schema.list_downgrades(newest, newest) == ()
    kept = frozenset(one for one in newest if one.table != "alembic_version")
    for words in schema.list_downgrades(newest, OLDER | kept):
        airflow(server, tmp_path, *words)
    assert read(server) == OLDER | kept
    airflow(server, tmp_path, "db", "migrate")
    assert read(server) == newest


def test_missing_tables_are_noticed(server: Server) -> None:
    (sql,) = shlex.split(schema.ask_missing())[-1:]
    assert server.query(sql) == []
    server.query("ALTER TABLE rendered_task_instance_fields RENAME TO elsewhere")
    assert server.query(sql) == [("rendered_task_instance_fields",)]
    server.query("ALTER TABLE elsewhere RENAME TO rendered_task_instance_fields")


def test_a_process_without_a_sign_of_life_is_noticed(server: Server) -> None:
    """A job counts when it began with the process, on its host, and has had a heartbeat since."""
    url, now = server.dsn, 1_800_000_000.0
    cases = {
        "fresh": (-8, -1, "running", "10.0.0.1", True),
        "no heartbeat since it began": (-8, -8, "running", "10.0.0.1", False),
        "of the process before": (-60, -1, "running", "10.0.0.1", False),
        "old": (-9, -45, "running", "10.0.0.1", False),
        "ended": (-8, -1, "success", "10.0.0.1", False),
        "of another host": (-8, -1, "running", "10.0.0.2", False),
    }
    for name, (begun, beat, state, host, is_well) in cases.items():
        server.query("DELETE FROM job")
        server.query(
            "INSERT INTO job (job_type, state, hostname, start_date, latest_heartbeat)"
            " VALUES ('TriggererJob', %s, %s, to_timestamp(%s), to_timestamp(%s))",
            *(state, host, now + begun, now + beat),
        )
        said = process_probe.has_heartbeat(url, "TriggererJob", "10.0.0.1", age_s=10, max_age_s=30, now=now)
        assert said == is_well, name


def test_a_scheduler_without_a_sign_of_life_is_noticed(server: Server) -> None:
    """A seat counts if its holder took it after the process had begun and is ready."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        runner.migrate(runner.execute_on(connection), runner.read_own())
    for state, taken_s, seen_s, is_well in (
        ("standby", 500, 1, True), ("active", 500, 1, True), ("warming", 500, 1, False),
        ("standby", 6000, 1, False), ("standby", 500, 2000, False),
    ):  # fmt: skip
        server.query("DELETE FROM airfleet.seat")
        server.query(
            "INSERT INTO airfleet.seat (name, holder, host, state, started_at, seen_at) VALUES ('s1', 'h', 'h', %s,"
            " clock_timestamp() - %s * interval '1 s', clock_timestamp() - %s * interval '1 s')",
            *(state, taken_s, seen_s),
        )
        assert process_probe.has_seat(server.dsn, "s1", age_s=1000, max_age_s=1000) == is_well, (state, taken_s, seen_s)


def read(server: Server) -> frozenset[Revision]:
    return frozenset(Revision(table, server.query(f"SELECT version_num FROM {table}")[0][0]) for table in schema.CHAINS)  # noqa: S608


def airflow(server: Server, home: Path, *words: str) -> None:
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.dsn.replace("postgresql:", "postgresql+psycopg2:"),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    }
    program = str(Path(sys.executable).parent / "airflow")
    done = subprocess.run(
        [program, *words], env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=COMMAND_S
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
