"""Airflow's role owns its database. Queries that `airfleet` runs there must give that role no further right."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import servers
from airfleet.components.model import reveal
from airfleet.components.postgresql import psql
from airfleet.components.postgresql import server as postgresql
from airfleet.operations.upgrade import schema
from airfleet.runners.local.processes import UNPRIVILEGED_USER
from places import NINE, parse, place
from servers import Server

pytestmark = [
    pytest.mark.skipif(shutil.which("psql") is None, reason="no psql here: apt-get install postgresql-client"),
    pytest.mark.xdist_group("looking_into_airflows_database"),  # they share a server
]
OWN_USER = UNPRIVILEGED_USER if not os.geteuid() else pwd.getpwuid(os.geteuid()).pw_name
# What a function of the owner's making does with the rights of whoever calls it.
EVIL = """
CREATE FUNCTION public.evil() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  ALTER ROLE airflow SUPERUSER;
  RETURN 'mine';
EXCEPTION WHEN insufficient_privilege THEN
  RETURN 'refused';
END $$;
CREATE VIEW public.alembic_version AS SELECT public.evil() AS version_num;
CREATE TABLE public.alembic_version_fab AS SELECT 'here' AS version_num;
"""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Server, Path]]:
    """Run a server with the rendered roles and access rules; yield it with the folder of its socket."""
    where = place(parse(NINE), "data1")
    part = postgresql.describe(where)
    [roles] = [job.script.reveal() for job in part.jobs if job.name == "postgresql-roles"]
    texts = {file.path.name: reveal(file.content).replace(" postgres ", f" {OWN_USER} ") for file in part.files}
    with servers.serve() as server:
        # As the unit of a host names them; the job itself comes in over the loopback.
        access = texts["pg_hba.conf"].replace(f"local all {OWN_USER} peer", "host all postgres 127.0.0.1/32 trust")
        for name, text in (("pg_hba.conf", access), ("pg_ident.conf", texts["pg_ident.conf"])):
            (server.folder / name).write_text(text)
        server.stop()
        server.start("-k", str(server.folder.parent))
        command = roles.replace(f"-h {psql.SOCKETS}", f"-h 127.0.0.1 -p {server.port}")
        subprocess.run(["sh", "-c", command], check=True)
        yield server, server.folder.parent


def ask(script: str, server: Server, sockets: Path) -> subprocess.CompletedProcess[str]:
    """Run the script that `airfleet` runs on the primary."""
    here = script.replace(f"-h {psql.SOCKETS}", f"-h {sockets} -p {server.port}")
    here = here.replace("runuser -u postgres --", f"runuser -u {OWN_USER} --" if not os.geteuid() else "")
    return subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=False, cwd="/")


def test_a_view_that_the_owner_planted_runs_with_the_owners_rights_only(served: tuple[Server, Path]) -> None:
    server, sockets = served
    with psycopg.connect(f"{server.dsn.removesuffix('postgres')}airflow", autocommit=True) as connection:
        connection.execute("SET SESSION AUTHORIZATION airflow")
        connection.execute(EVIL)
    told = ask(schema.ask_current(), server, sockets)
    assert (told.returncode, sorted(told.stdout.splitlines())) == (
        0,
        ["alembic_version refused", "alembic_version_fab here"],
    ), told.stderr
    assert server.query("SELECT rolsuper FROM pg_roles WHERE rolname = 'airflow'") == [(False,)]
    assert "alembic_version" not in ask(schema.ask_missing(), server, sockets).stdout


def test_who_sees_what_other_sessions_do_sees_no_password(served: tuple[Server, Path], tmp_path: Path) -> None:
    """Airflow's role sees the statements of all sessions, because a scheduler ends its predecessor's sessions."""
    server, _ = served
    [roles] = [
        job.script.reveal()
        for job in postgresql.describe(place(parse(NINE), "data1")).jobs
        if job.name == "postgresql-roles"
    ]
    here, seen, after = f"-h 127.0.0.1 -p {server.port}", tmp_path / "seen", "GRANT pg_monitor TO monitor;"
    look = "SELECT state, query FROM pg_stat_activity WHERE usename = 'postgres'"
    watch = f'\\! psql -XAtq {here} -U postgres -c "SET SESSION AUTHORIZATION airflow" -c "{look}" postgres > {seen}'
    assert after in roles
    command = roles.replace(f"-h {psql.SOCKETS}", here).replace(after, f"{watch}\n{after}")
    subprocess.run(["sh", "-c", command], check=True)
    assert "disabled|" in seen.read_text(), "the session that makes the roles"
    assert "PASSWORD" not in seen.read_text()


def test_nobody_looks_with_the_rights_of_a_superuser() -> None:
    for script in (schema.ask_current(), schema.ask_missing(), postgresql.ASK_AIRFLOW):
        assert f"-U {postgresql.LOOKER} airflow" in script


def test_only_the_servers_own_user_looks_and_only_at_airflows_database(served: tuple[Server, Path]) -> None:
    server, sockets = served
    looks = f"psql -w -XAtq -h {psql.SOCKETS} -U {postgresql.LOOKER}"
    for script, code in (
        (f"{postgresql.ASK_AIRFLOW} -c 'SELECT 1'", 0),
        (f"runuser -u postgres -- {looks} postgres -c 'SELECT 1'", 2),
        (f"{looks.replace(psql.SOCKETS, '127.0.0.1')} -p {server.port} airflow -c 'SELECT 1'", 2),
    ):
        assert ask(script, server, sockets).returncode == code, script
    if not os.geteuid():
        assert ask(f"{looks} airflow -c 'SELECT 1'", server, sockets).returncode == 2
