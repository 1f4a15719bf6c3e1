"""The result database on a PostgreSQL that somebody else runs: what its owner is told, and what a job makes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from airfleet.components.host_model import Place
from airfleet.components.hosts import database_urls, host_parts
from airfleet.components.model import OwnDatabase, reveal
from airfleet.components.postgresql import own_server
from airfleet.components.postgresql.result_database import READER, WRITER, ResultLogins
from airfleet.peers import database as own_database
from airfleet.spec.secrets import Rotating, Secret
from airfleet.workspace.diagnosis import Diagnosis
from deadline import COMMAND_S
from own_servers import make_owned, place_with, serve_with_passwords
from servers import Server

ADD = "INSERT INTO airfleet.task_result (task_id, status) VALUES ('t1', 'SUCCESS')"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_with_passwords() as own:
        yield own


@pytest.fixture
def database(server: Server) -> Iterator[OwnDatabase]:
    with make_owned(server) as own:
        yield own


@pytest.fixture
def may_make(server: Server) -> Iterator[OwnDatabase]:
    with make_owned(server, "CREATEROLE CREATEDB") as own:
        yield own


def examine(database: OwnDatabase, logins: ResultLogins) -> list[Diagnosis]:
    return own_database.examine(database, "a", connections=20, results=logins)


def list_errors(found: list[Diagnosis]) -> list[Diagnosis]:
    return [one for one in found if one.level == "error" and "round trip" not in one.what]


def run_job(place: Place) -> subprocess.CompletedProcess[str]:
    """Run the job of the first scheduler host as the host does: the script comes on standard input."""
    job = own_server.list_jobs(place)[0]
    script = job.script.reveal().replace(f"{place.runtime}/bin/python", shlex.quote(sys.executable))
    return subprocess.run(["sh", "-eus"], input=script, capture_output=True, text=True, check=False, timeout=COMMAND_S)


def connect(place: Place, role: str) -> psycopg.Connection:
    url = database_urls.results_dsn(place, role).reveal().replace("+psycopg2", "")
    return psycopg.connect(url, autocommit=True)


def require_least_rights(place: Place) -> None:
    with connect(place, WRITER) as writer:
        writer.execute(ADD)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            writer.execute("SELECT * FROM airfleet.task_result")
    with connect(place, READER) as reader:
        assert reader.execute("SELECT count(*) FROM airfleet.task_result").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(ADD)


def test_its_owner_is_told_each_statement_and_no_password(server: Server, database: OwnDatabase) -> None:
    place = place_with(database)
    logins = place.credentials.results
    [missing] = list_errors(examine(database, logins))
    assert missing.what == "the results of tasks need the database metadata_results with two logins of few rights"
    assert "s3cret" not in missing.hint
    for statement in missing.hint.split("; "):
        server.query(statement.replace("%", "%%"))
    assert list_errors(examine(database, logins)) == []
    done = run_job(place)
    assert (done.returncode, done.stderr) == (0, "")
    require_least_rights(place)


def test_a_login_that_lost_its_password_is_told(server: Server, database: OwnDatabase) -> None:
    logins = place_with(database).credentials.results
    for statement in list_errors(examine(database, logins))[0].hint.split("; "):
        server.query(statement)
    [wrong] = list_errors(examine(database, replace(logins, writer=Secret("another"))))
    assert wrong.hint.startswith('ALTER ROLE "metadata_results_writer" LOGIN PASSWORD \'SCRAM-SHA-256$')


def test_the_login_of_another_user_may_not_own_the_result_database(server: Server, database: OwnDatabase) -> None:
    server.query("CREATE DATABASE metadata_results")
    [missing] = list_errors(examine(database, place_with(database).credentials.results))
    assert missing.hint.startswith('ALTER DATABASE "metadata_results" OWNER TO "team af"; CREATE ROLE')


def test_a_login_that_may_make_roles_makes_them_and_nobody_is_asked(may_make: OwnDatabase, server: Server) -> None:
    place = place_with(may_make)
    assert list_errors(examine(may_make, place.credentials.results)) == []
    for _ in range(2):
        done = run_job(place)
        assert (done.returncode, done.stderr) == (0, "")
    require_least_rights(place)
    assert "s3cret" not in (server.folder.parent / "postgres.log").read_text()
    url = database_urls.results_dsn(place, WRITER).reveal().replace("+psycopg2", "").replace("_results?", "?")
    with psycopg.connect(url) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("SELECT * FROM airfleet.migration")


def test_a_rotation_has_two_logins_and_then_one(may_make: OwnDatabase) -> None:
    before = place_with(may_make)
    assert run_job(before).returncode == 0
    first = before.credentials.results.writer.reveal()
    both = Rotating("fresh", slot=1, others=(Rotating(first),))
    during = with_writer(before, both)
    assert run_job(during).returncode == 0
    for place in (before, during):
        with connect(place, WRITER) as writer:
            assert writer.execute("SELECT current_user").fetchone() == ("metadata_results_writer",)
            writer.execute(ADD.replace("t1", f"of {writer.info.user}"))
    after = with_writer(before, Rotating("fresh", slot=1))
    assert run_job(after).returncode == 0
    connect(after, WRITER).close()
    with pytest.raises(psycopg.OperationalError):
        connect(before, WRITER)


def with_writer(place: Place, writer: Secret) -> Place:
    logins = replace(place.credentials.results, writer=writer)
    return replace(place, credentials=replace(place.credentials, results=logins))


def test_a_database_of_another_platform_is_left_alone(may_make: OwnDatabase) -> None:
    place = place_with(may_make)
    assert run_job(place).returncode == 0
    other = replace(place, credentials=replace(place.credentials, identity="another"))
    done = run_job(other)
    assert (done.returncode, done.stderr) == (1, "airfleet: another platform works with this database\n")
    assert (
        "another platform works with this database" in list_errors(examine(may_make, place.credentials.results))[0].what
    )


def test_a_host_asks_the_database_with_the_url_of_its_file(may_make: OwnDatabase, tmp_path: Path) -> None:
    place = place_with(may_make)
    path = tmp_path / "session.env"
    command = own_server.ask_airflow(place).replace(str(database_urls.SESSION), str(path))
    command = command.replace(f"{place.runtime}/bin/python", sys.executable)
    parts = host_parts.describe(place, ssh_ports=(22,))
    [file] = [file for part in parts for file in part.files if file.path == database_urls.SESSION]
    path.write_text(reveal(file.content))
    query = "SELECT 'a', NULL, 1 UNION ALL SELECT 'b', 'c', 2 ORDER BY 3"
    words = ["sh", "-euc", f"{command} -c {shlex.quote(query)}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert (done.stdout, done.stderr) == ("a||1\nb|c|2\n", "")
