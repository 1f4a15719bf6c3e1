"""The schema goes back to where an older Airflow wants it, and forward again, by the commands that an upgrade runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.operations.upgrade import schema
from airfleet.operations.upgrade.schema import Revision
from servers import Server, serve

pytestmark = pytest.mark.local

# What Airflow 3.2 wants.
OLDER = frozenset({Revision("alembic_version", "1d6611b6ab7c")})


def test_the_schema_goes_back_and_forward_again(tmp_path: Path) -> None:
    with serve() as server:
        airflow(server, tmp_path, "db", "migrate")
        newest = read(server)
        said = subprocess.run(["sh", "-c", schema.ask_wanted(Path(sys.prefix))], capture_output=True, check=True)
        assert schema.parse(said.stdout.decode()) == newest
        assert schema.list_downgrades(newest, newest) == ()
        kept = frozenset(one for one in newest if one.table != "alembic_version")
        for words in schema.list_downgrades(newest, OLDER | kept):
            airflow(server, tmp_path, *words)
        assert read(server) == OLDER | kept
        airflow(server, tmp_path, "db", "migrate")
        assert read(server) == newest


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
        [program, *words], env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
