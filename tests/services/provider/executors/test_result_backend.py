"""Results in a real PostgreSQL: what each login may do, and what the scheduler makes of what a worker wrote."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from airflow.providers.celery.executors.celery_executor_utils import BulkStateFetcher
from celery import Celery
from celery.result import AsyncResult
from psycopg import sql
from sqlalchemy.exc import OperationalError, ProgrammingError

from airfleet.components.postgresql import result_database as roles
from airfleet.runners.local import databases
from airfleet_provider.contract.result_schema import REFUSED
from airfleet_provider.executors.celery_config import BrokerCredentials, make_config
from airfleet_provider.executors.result_backend import REFUSED_S, PatientBackend
from clocks import MadeUpClock
from servers import Server, serve

REFUSALS = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.CheckViolation,
    psycopg.errors.WrongObjectType,
)
PASSWORDS = {roles.WRITER: "w", roles.READER: "r"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as one:
        # As an earlier version left it.
        databases.ensure_role(psycopg.connect(one.dsn, autocommit=True), roles.FORMER, "old")
        one.query(f'CREATE DATABASE "{roles.FORMER}" OWNER "{roles.FORMER}"')
        for _ in range(2):  # at every start
            databases.ensure_results([one.dsn], PASSWORDS)
        yield one


def dsn(server: Server, role: str) -> str:
    return f"{role}:{PASSWORDS[role]}@127.0.0.1:{server.port}/{roles.DATABASE}"


def make_app(server: Server, role: str) -> Celery:
    """Celery as Airflow makes it in our processes, connected with one of the two logins."""
    link = BrokerCredentials("memory://", f"db+postgresql+psycopg2://{dsn(server, role)}", ("default",))
    return Celery("test", config_source=make_config({}, link))


@pytest.fixture
def worker(server: Server) -> Iterator[PatientBackend]:
    server_rows(server, "DELETE FROM airfleet.task_result")
    backend = make_app(server, roles.WRITER).backend
    assert isinstance(backend, PatientBackend)
    yield backend
    # A connection that is left would be closed in a garbage collection during a later test, without its server.
    if backend.kept is not None:
        backend.kept.close()
    backend.session_manager.invalidate(backend.url)


@pytest.fixture
def scheduler(server: Server) -> Celery:
    return make_app(server, roles.READER)


def server_rows(server: Server, statement: str, *words: object) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn, dbname=roles.DATABASE, autocommit=True) as connection:
        cursor = connection.execute(statement, words or None)
        return cursor.fetchall() if cursor.description else []


def fetch(app: Celery, *ids: str) -> dict[str, str]:
    """What Airflow's executor reads."""
    found = BulkStateFetcher(1, celery_app=app).get_many([AsyncResult(one, app=app) for one in ids])
    return {one: state for one, (state, _) in found.items()}


def test_the_scheduler_reads_what_a_worker_left(worker: PatientBackend, scheduler: Celery) -> None:
    worker.mark_as_done("done", {"exit": 0})
    worker.mark_as_failure("failed", ValueError("no"))
    worker._store_result("refused", None, REFUSED)
    worker.store_result("begun", None, "STARTED")
    expected = {"done": "SUCCESS", "failed": "FAILURE", "refused": REFUSED, "begun": "PENDING"}
    assert fetch(scheduler, *expected) == expected


def test_the_first_result_counts(worker: PatientBackend, scheduler: Celery) -> None:
    worker.mark_as_done("one", None)
    worker.mark_as_failure("one", ValueError("delivered again"))
    assert fetch(scheduler, "one") == {"one": "SUCCESS"}


class Bomb:
    """A pickle of it makes a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_nothing_that_a_worker_wrote_is_loaded(
    server: Server, worker: PatientBackend, scheduler: Celery, tmp_path: Path
) -> None:
    """Even with the columns of Celery's own table, and with what Celery would import as an exception."""
    mark = tmp_path / "loaded"
    bomb = pickle.dumps(Bomb(mark))
    server_rows(server, "ALTER TABLE airfleet.task_result ADD result bytea, ADD traceback text")
    try:
        for status in ("SUCCESS", "FAILURE", "REVOKED", "REFUSED"):
            columns = "(task_id, status, result) VALUES (%s, %s, %s)"
            server_rows(server, f"INSERT INTO airfleet.task_result {columns}", status, status, bomb)
            assert fetch(scheduler, status) == {status: status}
            found = AsyncResult(status, app=scheduler)  # as the scheduler that takes tasks over
            assert (found.state, found.result, found.traceback) == (status, None, None)
    finally:
        server_rows(server, "ALTER TABLE airfleet.task_result DROP result, DROP traceback")
    assert not mark.exists()
    pickle.loads(bomb)  # noqa: S301 - ours
    assert mark.exists(), "it would have been noticed"


def test_no_column_of_ours_decodes_anything() -> None:
    table = PatientBackend(app=Celery(), dburi="sqlite://").task_cls.__table__
    assert {column.name: str(column.type) for column in table.columns} == {"task_id": "TEXT", "status": "TEXT"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT task_id FROM airfleet.task_result",
        "UPDATE airfleet.task_result SET status = 'SUCCESS'",
        "DELETE FROM airfleet.task_result",
        "TRUNCATE airfleet.task_result",
        "INSERT INTO airfleet.task_result (task_id, status, ended_at) VALUES ('x', 'SUCCESS', '2000-01-01')",
        "INSERT INTO airfleet.task_result (task_id, status) VALUES ('x', E'\\nforged')",
        "INSERT INTO airfleet.task_result (task_id, status) VALUES (repeat('x', 999), 'SUCCESS')",
        "INSERT INTO airfleet.task_result (task_id, status) VALUES ('x', 'SUCCESS') RETURNING task_id",
        "CREATE TABLE public.mine (a int)",
        "CREATE TABLE airfleet.mine (a int)",
        "CREATE TEMP TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TRIGGER mine BEFORE INSERT ON airfleet.task_result"
        " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE airfleet.task_result ADD mine int",
        "LOCK TABLE airfleet.task_result IN ACCESS EXCLUSIVE MODE",
    ],
)
def test_a_worker_may_add_a_row_and_nothing_else(server: Server, statement: str) -> None:
    with (
        psycopg.connect(f"postgresql://{dsn(server, roles.WRITER)}") as connection,
        pytest.raises(REFUSALS),
    ):
        connection.execute(sql.SQL(statement))


def test_the_scheduler_may_read_and_remove(server: Server, worker: PatientBackend, scheduler: Celery) -> None:
    worker.mark_as_done("new", None)
    server_rows(server, "INSERT INTO airfleet.task_result VALUES ('old', 'SUCCESS', now() - interval '8 days')")
    scheduler.backend.remove_old(7 * 86400)
    assert fetch(scheduler, "old", "new") == {"old": "PENDING", "new": "SUCCESS"}
    with (
        psycopg.connect(f"postgresql://{dsn(server, roles.READER)}") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("INSERT INTO airfleet.task_result (task_id, status) VALUES ('x', 'SUCCESS')")


def test_what_an_earlier_version_left_is_gone(server: Server) -> None:
    assert server.query("SELECT datname FROM pg_database WHERE datname = %s", roles.FORMER) == []
    assert server.query("SELECT rolname FROM pg_roles WHERE rolname = %s", roles.FORMER) == []


def test_an_outage_is_waited_for_and_a_refusal_for_a_minute() -> None:
    clock = MadeUpClock()
    backend = PatientBackend(app=Celery(), dburi="sqlite://", clock=clock)
    outage = OperationalError("INSERT", {}, Exception("server closed the connection"))
    refusal = ProgrammingError("INSERT", {}, Exception("permission denied"))
    clock.now = 1e6
    assert backend.exception_safe_to_retry(outage)
    assert backend.exception_safe_to_retry(refusal), "a server may be changing its role"
    clock.now += REFUSED_S / 2
    assert backend.exception_safe_to_retry(refusal)
    clock.now += REFUSED_S / 2
    assert not backend.exception_safe_to_retry(refusal)
    assert not backend.exception_safe_to_retry(refusal), "what follows is not held up again"
    assert backend.exception_safe_to_retry(outage)
    assert not backend.exception_safe_to_retry(ValueError("ours"))


def test_a_refusal_of_long_ago_takes_no_patience_from_a_later_one() -> None:
    clock = MadeUpClock(1e6)
    backend = PatientBackend(app=Celery(), dburi="sqlite://", clock=clock)
    refusal = ProgrammingError("INSERT", {}, Exception("permission denied"))
    assert backend.exception_safe_to_retry(refusal)
    assert not backend.exception_safe_to_retry(ValueError("the result of that was given up for another reason"))
    clock.now += 10 * REFUSED_S
    for _ in range(6):
        assert backend.exception_safe_to_retry(refusal)
        clock.now += REFUSED_S / 6
    assert not backend.exception_safe_to_retry(refusal)


def test_a_refused_result_ends_with_an_error(server: Server, worker: PatientBackend) -> None:
    server_rows(server, f"REVOKE INSERT (task_id, status) ON airfleet.task_result FROM {roles.WRITER}")
    worker.clock = MadeUpClock(reading_s=REFUSED_S / 2)
    worker.always_retry, worker.base_sleep_between_retries_ms, worker.max_sleep_between_retries_ms = True, 1, 1
    try:
        with pytest.raises(ProgrammingError, match="permission denied"):
            worker.mark_as_done("one", None)
    finally:
        databases.ensure_results([server.dsn], PASSWORDS)
    worker.mark_as_done("one", None)


def keep(worker: PatientBackend) -> int:
    """Store a result as a process of a worker does, and return the server's process of its connection."""
    worker.session_manager.forked = True
    worker.mark_as_done("first", None)
    assert worker.kept is not None
    pid: int = worker.kept.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    worker.kept.commit()
    return pid


def test_a_process_of_a_worker_keeps_one_connection(worker: PatientBackend, scheduler: Celery) -> None:
    pid = keep(worker)
    worker.mark_as_done("second", None)
    assert worker.kept is not None
    assert worker.kept.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == pid
    assert fetch(scheduler, "first", "second") == {"first": "SUCCESS", "second": "SUCCESS"}


def test_a_connection_that_the_server_ended_costs_no_result_and_no_warning(
    worker: PatientBackend, scheduler: Celery, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    pid = keep(worker)
    server_rows(server, "SELECT pg_terminate_backend(%s, 10000)", pid)
    worker.mark_as_done("second", None)
    assert not [one for one in caplog.records if one.levelname in {"WARNING", "ERROR"}]
    assert fetch(scheduler, "second") == {"second": "SUCCESS"}
    assert keep(worker) != pid


def test_a_kept_connection_is_replaced_after_an_error(worker: PatientBackend, scheduler: Celery) -> None:
    keep(worker)
    with pytest.raises(ValueError, match="NUL"):
        worker._store_result("\0", None, "SUCCESS")
    worker.mark_as_done("third", None)
    assert fetch(scheduler, "third") == {"third": "SUCCESS"}
