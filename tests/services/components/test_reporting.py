"""The login for reports on a real server: what it reads, and what it is kept from."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

import servers
from airfleet.components.postgresql import psql, reporting
from airfleet.components.postgresql import server as postgresql
from airfleet.spec.secrets import Secret
from places import NINE, parse, place
from servers import Server

pytestmark = [
    pytest.mark.skipif(shutil.which("psql") is None, reason="no psql here: apt-get install postgresql-client"),
    pytest.mark.xdist_group("reporting"),  # they share a server
]
PASSWORD = 'it\'s \\ "odd" :PASSWORD $HOME $$'
WANTED = NINE + "reporting: {password: {env: P}, readers: [10.0.9.5], connections: 2, seconds: 1}\n"
# A few of Airflow's tables, with the columns that matter here, and one of airfleet's.
TABLES = """
CREATE TABLE public.dag_run (id int, dag_id text, state text, conf jsonb, context_carrier jsonb);
CREATE TABLE public.dag (dag_id text, "order" int);
CREATE TABLE public.connection (conn_id text, password text);
CREATE SCHEMA IF NOT EXISTS airfleet;
CREATE TABLE IF NOT EXISTS airfleet.release (id text);
INSERT INTO public.dag_run VALUES (1, 'sales', 'success', '{"token": "s3cret"}');
"""


def run(script: str, server: Server) -> None:
    here = script.replace(f"-h {psql.SOCKETS}", f"-h 127.0.0.1 -p {server.port}")
    subprocess.run(["sh", "-e", "-c", here], check=True)


def read_job(name: str, text: str = WANTED, password: str | None = PASSWORD) -> str:
    where = place(parse(text), "data1")
    where = replace(where, objects=replace(where.objects, reporting=Secret(password) if password else None))
    [script] = [job.script.reveal() for job in postgresql.describe(where).jobs if job.name == name]
    return script


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with servers.serve() as served:
        (served.folder / "pg_hba.conf").write_text(
            f"host all postgres,{'airfleet_looker'} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        served.query("SELECT pg_reload_conf()")
        run(read_job("postgresql-roles"), served)
        with psycopg.connect(f"{served.dsn.removesuffix('postgres')}airflow", autocommit=True) as connection:
            connection.execute("SET SESSION AUTHORIZATION airflow")
            connection.execute(TABLES)
        run(read_job("reporting-rights"), served)
        yield served


def connect(server: Server, password: str = PASSWORD) -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        dbname="airflow",
        user=reporting.LOGIN,
        password=password,
        autocommit=True,
    )


def test_it_reads_runs_and_no_column_with_what_users_wrote(server: Server) -> None:
    with connect(server) as connection:
        assert connection.execute("SELECT id, dag_id, state FROM dag_run").fetchall() == [(1, "sales", "success")]
        assert connection.execute("SELECT * FROM dag").fetchall() == []
        shown = connection.execute(
            "SELECT table_name, string_agg(column_name, ' ' ORDER BY column_name)"
            " FROM information_schema.columns WHERE table_schema IN ('public', 'airfleet') GROUP BY 1"
        ).fetchall()
        assert dict(shown) == {"dag": "dag_id order", "dag_run": "dag_id id state"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT conf FROM dag_run",
        "SELECT * FROM connection",
        "SELECT * FROM airfleet.release",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SET default_transaction_read_only = off; CREATE TABLE public.mine (id int)",
        "SET default_transaction_read_only = off; CREATE TEMPORARY TABLE mine (id int)",
        "SET default_transaction_read_only = off; DELETE FROM dag_run",
        "SET temp_file_limit TO -1",
        "SET ROLE airflow",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_it_is_kept_from_everything_else(server: Server, statement: str) -> None:
    with connect(server) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        for one in statement.split("; "):
            connection.execute(one)


def test_airflow_itself_still_has_its_locks_and_may_make_tables(server: Server) -> None:
    with psycopg.connect(f"{server.dsn.removesuffix('postgres')}airflow", autocommit=True) as connection:
        connection.execute("SET SESSION AUTHORIZATION airflow")
        assert connection.execute("SELECT pg_try_advisory_lock(1)").fetchone() == (True,)
        connection.execute("CREATE TABLE public.later (id int)")


def test_its_limits_hold(server: Server) -> None:
    with connect(server) as first, connect(server):
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            connect(server)
        with pytest.raises(psycopg.errors.QueryCanceled):
            first.execute("SELECT pg_sleep(30)")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            first.execute("CREATE TABLE public.mine (id int)")


def test_a_later_version_of_airflow_shows_no_new_table_by_itself(server: Server) -> None:
    with psycopg.connect(f"{server.dsn.removesuffix('postgres')}airflow", autocommit=True) as connection:
        connection.execute("SET SESSION AUTHORIZATION airflow")
        connection.execute("CREATE TABLE public.dag_tag (name text); ALTER TABLE public.dag_run ADD note text")
    run(read_job("reporting-rights"), server)
    with connect(server) as connection:
        assert connection.execute("SELECT name FROM dag_tag").fetchall() == []
        assert connection.execute("SELECT note FROM dag_run").fetchall() == [(None,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM later")


def test_the_superuser_calls_nothing_that_airflows_role_planted(server: Server) -> None:
    planted = """
CREATE TABLE public.called (who text);
CREATE FUNCTION public.format(text, regprocedure) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO public.called VALUES (current_user); RETURN 'SELECT 1'; END $$;
CREATE FUNCTION public.fits(name, name) RETURNS boolean LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO public.called VALUES (current_user); RETURN true; END $$;
CREATE OPERATOR public.~ (LEFTARG = name, RIGHTARG = name, FUNCTION = public.fits);
"""
    with psycopg.connect(f"{server.dsn.removesuffix('postgres')}airflow", autocommit=True) as connection:
        connection.execute("SET SESSION AUTHORIZATION airflow")
        connection.execute(planted)
        run(read_job("postgresql-roles"), server)
        assert connection.execute("SELECT DISTINCT who FROM public.called").fetchall() == []


def test_it_ends_with_the_section_of_fleet_yaml(server: Server) -> None:
    with connect(server) as connection:
        run(read_job("postgresql-roles", NINE, None), server)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match=r"not permitted to log in|password authentication failed"):
        connect(server)
