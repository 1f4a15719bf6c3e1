"""Migrations of airfleet's own tables on a real PostgreSQL, as the role that owns them."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airfleet.components.postgresql import result_database
from airfleet.components.postgresql import server as postgresql
from airfleet.runners.local import databases
from airfleet_provider.contract import lease_schema, release_schema, result_schema
from airfleet_provider.contract.locks import SCHEMA_LOCK
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigratedDatabase, Migration, MigrationError, MigrationKind
from airfleet_provider.contract.release_schema import DeploymentAction, DeploymentState
from deadline import PATIENCE_S, wait_until
from servers import Server, serve

BEFORE = (Path(__file__).parent / "databases" / "before_migrations.sql").read_text()
RESULTS_BEFORE = (Path(__file__).parent / "databases" / "results_before_migrations.sql").read_text()
OWN = runner.read_own()
# The tables of the version before migrations, which those of later numbers may change.
BASELINE = OWN[:1]
# As a later version of airfleet could have them: a column that new code writes, and the end of one that old code wrote.
LATER = (
    *OWN,
    *runner.parse(
        {
            "9001_say_where.pre.sql": "-- Why: a test.\nALTER TABLE airfleet.job ADD COLUMN host text;\n"
            "UPDATE airfleet.job SET host = 'here, 100%';\n",
            "9002_drop_fingerprint.post.sql": "-- Why: a test.\nALTER TABLE airfleet.job DROP COLUMN fingerprint;\n",
        }
    ),
)
OLD_NOTE = "INSERT INTO airfleet.job (name, fingerprint, ended_at) VALUES (%s, 'old', now()) ON CONFLICT DO NOTHING"
NEW_NOTE = "INSERT INTO airfleet.job (name, fingerprint, ended_at, host) VALUES (%s, 'new', now(), 'data1')"

# What the schema is made of, but for the table of migrations.
SHAPE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, c.relowner::regrole::text,
    pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'airfleet'::regnamespace AND c.relname !~ '^migration' ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'airfleet'::regnamespace AND conrelid::regclass::text <> 'airfleet.migration' ORDER BY 1, 2
"""
FUNCTIONS = """
SELECT p.oid::regprocedure::text, prosrc, proowner::regrole::text, tgname, tgrelid::regclass::text
FROM pg_proc p LEFT JOIN pg_trigger ON tgfoid = p.oid WHERE pronamespace = 'airfleet'::regnamespace ORDER BY 1, 4
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as one:
        one.query("CREATE ROLE airflow LOGIN PASSWORD 'a'")
        yield one


@pytest.fixture
def database(server: Server) -> Iterator[Server]:
    """An empty database of the role `airflow`, as every way to a platform makes it."""
    server.query("CREATE DATABASE airflow OWNER airflow")
    yield server
    server.query("DROP DATABASE airflow WITH (FORCE)")


@contextlib.contextmanager
def connect(server: Server, user: str = "airflow") -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.dsn, dbname="airflow", user=user, autocommit=True) as connection:
        yield connection


def migrate(
    server: Server, migrations: Sequence[Migration] = OWN, kinds: Sequence[MigrationKind] = (MigrationKind.PRE,)
) -> list[Migration]:
    with connect(server) as connection:
        return list(runner.migrate(runner.execute_on(connection), migrations, kinds=kinds))


def ask(server: Server, statement: str, *words: object) -> list[tuple[Any, ...]]:
    with connect(server) as connection:
        cursor = connection.execute(statement, words or None)
        return cursor.fetchall() if cursor.description else []


def list_applied(server: Server) -> list[int]:
    return [number for (number,) in ask(server, "SELECT number FROM airfleet.migration ORDER BY number")]


def describe(server: Server) -> list[list[tuple[Any, ...]]]:
    return [ask(server, statement) for statement in (SHAPE, CONSTRAINTS, FUNCTIONS)]


def make_earlier(server: Server) -> None:
    """The tables as the version before migrations made them, with a row in one."""
    with connect(server, "postgres") as connection:
        connection.execute(BEFORE)
    ask(server, OLD_NOTE, "kept")


def test_a_fresh_database_has_the_tables_of_the_version_before_and_the_same_owner(database: Server) -> None:
    assert migrate(database, BASELINE) == list(BASELINE)
    fresh = describe(database)
    assert {row[4] for row in fresh[0]} == {"airflow"}
    database.query("DROP DATABASE airflow WITH (FORCE)")
    database.query("CREATE DATABASE airflow OWNER airflow")
    make_earlier(database)
    assert describe(database) == fresh


def test_a_database_of_the_version_before_is_taken_over_without_a_change(database: Server) -> None:
    make_earlier(database)
    before = describe(database)
    assert migrate(database, BASELINE) == list(BASELINE)
    assert describe(database) == before
    assert ask(database, "SELECT name, fingerprint FROM airfleet.job") == [("kept", "old")]
    assert migrate(database) == list(OWN[1:])
    assert migrate(database) == []


def test_code_before_and_after_work_side_by_side_until_the_end_of_the_old(database: Server) -> None:
    make_earlier(database)
    assert [one.number for one in migrate(database, LATER)][-1] == 9001
    ask(database, OLD_NOTE, "by old code")
    ask(database, NEW_NOTE, "by new code")
    # Old code restarts meanwhile: the version before migrations makes its tables, the one after it looks for its own.
    with connect(database, "postgres") as connection:
        connection.execute(BEFORE)
    assert migrate(database, OWN) == []
    old = "UPDATE airfleet.lease SET epoch = epoch + 1, holder = 'old' WHERE name = 'scheduler' RETURNING epoch"
    assert ask(database, old) == [(1,)]
    assert ask(database, "SELECT name, host FROM airfleet.job ORDER BY 1") == [
        *(("by new code", "data1"), ("by old code", None), ("kept", "here, 100%")),
    ]
    assert [one.number for one in migrate(database, LATER, (MigrationKind.PRE, MigrationKind.POST))] == [9002]


def test_an_older_version_is_refused_once_a_newer_one_has_removed_something(database: Server) -> None:
    migrate(database, LATER, (MigrationKind.PRE, MigrationKind.POST))
    with pytest.raises(MigrationError, match=r"newer version of airfleet .* 9002_drop_fingerprint\.post"):
        migrate(database, OWN)


@pytest.mark.parametrize("pending", [(), LATER[-2:]])
def test_a_migration_that_was_changed_after_it_was_applied_is_refused(
    database: Server, pending: tuple[Migration, ...]
) -> None:
    migrate(database)
    changed = Migration(1, OWN[0].name, OWN[0].kind, OWN[0].sql + "DROP TABLE airfleet.job;\n")
    with pytest.raises(MigrationError, match=r"0001_baseline\.pre is not the one"):
        migrate(database, (changed, *OWN[1:], *pending))
    assert list_applied(database) == [one.number for one in OWN]


def test_a_runner_that_is_killed_anywhere_leaves_all_or_nothing_of_a_migration(database: Server) -> None:
    """Its session ends after each of its statements in turn, as when the process is killed there."""
    for count in itertools.count():
        with connect(database) as connection:
            runs = runner.execute_on(connection)
            left = itertools.count(count, -1)

            def execute(statement: str) -> Sequence[Sequence[Any]]:
                if next(left) <= 0:  # noqa: B023 - called in this turn of the loop
                    connection.pgconn.finish()
                return runs(statement)  # noqa: B023

            try:
                runner.migrate(execute, LATER)
                break
            except psycopg.OperationalError:
                pass
        there = ask(database, "SELECT to_regclass('airfleet.job'), to_regclass('airfleet.migration')")[0]
        assert (there[0] is None) == (there[1] is None)
        if there[1]:
            is_later = bool(
                ask(
                    database,
                    "SELECT 1 FROM pg_attribute WHERE attname = 'host' AND attrelid = %s::regclass",
                    "airfleet.job",
                )
            )
            assert (9001 in list_applied(database)) == is_later
    assert count > 8
    assert migrate(database, LATER) == []


def test_a_migration_that_fails_changes_nothing_and_the_next_call_goes_on(database: Server) -> None:
    wrong = runner.parse({"9001_wrong.pre.sql": "ALTER TABLE airfleet.job ADD COLUMN host text; SELECT 1 / 0;"})
    with connect(database) as connection:
        execute = runner.execute_on(connection)
        with pytest.raises(psycopg.errors.DivisionByZero):
            runner.migrate(execute, (*OWN, *wrong))
        assert list_applied(database) == [one.number for one in OWN]
        assert [one.number for one in runner.migrate(execute, LATER)] == [9001]


def test_of_two_runners_at_once_each_migration_is_applied_by_one(database: Server) -> None:
    with ThreadPoolExecutor() as beside, connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK,))
        both = [beside.submit(migrate, database, LATER) for _ in range(2)]
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = 'airflow'"
        wait_until(lambda: len(ask(database, waits)) == 2, "two runners at the lock")
        holder.execute("SELECT pg_advisory_unlock(%s)", (SCHEMA_LOCK,))
        applied = [one.number for done in both for one in done.result(PATIENCE_S)]
    assert sorted(applied) == list_applied(database) == [*(one.number for one in OWN), 9001]


def test_where_nothing_is_missing_nobody_is_waited_for(database: Server) -> None:
    migrate(database)
    with connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK,))
        assert migrate(database) == []


def test_the_start_of_a_platform_on_one_machine_migrates_as_the_role_of_airflow(database: Server) -> None:
    for _ in range(2):
        databases.migrate([database.dsn], "a")
    assert list_applied(database) == [one.number for one in OWN]
    assert {row[4] for row in describe(database)[0]} == {"airflow"}


def test_the_start_on_one_machine_applies_what_removes_something_too(
    database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "read_own", lambda *_: LATER)
    databases.migrate([database.dsn], "a")
    assert list_applied(database) == [one.number for one in LATER]


# What a host without Python packages runs: the same migrations as one statement for psql.


def run_script(server: Server, migrations: Sequence[Migration], *kinds: MigrationKind) -> None:
    with connect(server) as connection:
        connection.execute(runner.render_script(migrations, kinds=kinds or (MigrationKind.PRE,)).encode())


def test_a_script_leaves_the_database_that_the_runner_leaves(database: Server) -> None:
    make_earlier(database)
    for _ in range(2):
        run_script(database, LATER)
    assert list_applied(database) == [*(one.number for one in OWN), 9001]
    assert migrate(database, LATER) == []
    assert ask(database, "SELECT name, host FROM airfleet.job") == [("kept", "here, 100%")]
    run_script(database, LATER, MigrationKind.POST)
    assert migrate(database, LATER, (MigrationKind.PRE, MigrationKind.POST)) == []


def test_a_script_refuses_what_the_runner_refuses(database: Server) -> None:
    migrate(database, LATER, (MigrationKind.PRE, MigrationKind.POST))
    with pytest.raises(
        psycopg.errors.RaiseException, match=r"newer version of airfleet .* 9002_drop_fingerprint\.post"
    ):
        run_script(database, OWN)
    changed = Migration(9001, "say_where", MigrationKind.PRE, "SELECT 1")
    with pytest.raises(psycopg.errors.RaiseException, match=r"9001_say_where\.pre is not the one"):
        run_script(database, (*OWN, changed, LATER[-1]))
    wrong = runner.parse({"9003_wrong.pre.sql": "CREATE TABLE airfleet.half (a int); SELECT 1 / 0;"})
    with pytest.raises(psycopg.errors.DivisionByZero):
        run_script(database, (*LATER, *wrong))
    assert ask(database, "SELECT to_regclass('airfleet.half')") == [(None,)]


# The database of results.


def test_the_results_of_an_earlier_version_are_taken_over_with_their_rows_and_rights(database: Server) -> None:
    database.query("CREATE ROLE airfleet_results_writer; CREATE ROLE airfleet_results_reader")
    own = runner.read_own(MigratedDatabase.RESULTS)
    rights = "SELECT relname, relacl::text FROM pg_class WHERE relname = 'task_result'"
    try:
        with connect(database, "postgres") as connection:
            connection.execute(RESULTS_BEFORE.encode())
            connection.execute("INSERT INTO airfleet.task_result (task_id, status) VALUES ('a', 'SUCCESS')")
        before = [*describe(database), ask(database, rights)]
        with connect(database, "postgres") as connection:
            connection.execute((runner.render_script(own) + result_database.RIGHTS).encode())
        assert [*describe(database), ask(database, rights)] == before
        with connect(database, "postgres") as connection:
            assert connection.execute("SELECT task_id FROM airfleet.task_result").fetchall() == [("a",)]
            assert runner.migrate(runner.execute_on(connection), own) == ()
            for number, status in enumerate(result_schema.STATUSES):
                connection.execute("INSERT INTO airfleet.task_result VALUES (%s, %s)", (str(number), status))
    finally:
        database.query("DROP DATABASE airflow WITH (FORCE)")
        database.query("DROP ROLE airfleet_results_writer; DROP ROLE airfleet_results_reader")
        database.query("CREATE DATABASE airflow OWNER airflow")


def test_the_results_are_cleaned_up_by_the_database_s_host_once_for_each_migration_that_removes_something() -> None:
    assert postgresql.clean_up_results(OWN) == ()
    [job] = postgresql.clean_up_results(LATER)
    assert "DROP COLUMN fingerprint" in job.script.reveal()
    assert result_database.DATABASE in job.script.reveal().partition("\n")[0]


def test_the_tables_take_every_word_that_the_code_writes_and_announce_it(database: Server) -> None:
    """The files of migrations repeat what the code calls states, actions, channels and the lease."""
    migrate(database)
    with connect(database) as connection:
        connection.execute(f"LISTEN {release_schema.CHANNEL}")
        for action, state in itertools.product(DeploymentAction, DeploymentState):
            statement = "INSERT INTO airfleet.deployment (bundle, action, state) VALUES ('b', %s, %s)"
            connection.execute(statement, (action, state))
            assert len(list(connection.notifies(timeout=PATIENCE_S, stop_after=1))) == 1
        (predicate,) = connection.execute(
            "SELECT pg_get_expr(indpred, indrelid) FROM pg_index"
            " WHERE indexrelid = 'airfleet.deployment_unfinished'::regclass"
        ).fetchone() or ("",)
        assert set(re.findall(r"'(\w+)'", predicate)) == set(release_schema.UNFINISHED)
        assert connection.execute("SELECT name FROM airfleet.lease ORDER BY name").fetchall() == [
            (lease_schema.AGENTS,),
            (lease_schema.SCHEDULER,),
        ]


def test_every_migration_says_why_it_is_there() -> None:
    for database in MigratedDatabase:
        for one in runner.read_own(database):
            assert one.sql.startswith("-- Why: "), one.title


@pytest.mark.parametrize(
    "names", [("1_short.pre.sql",), ("0001_no_kind.sql",), ("0001_one.pre.sql", "0001_two.post.sql")]
)
def test_a_file_without_a_number_of_its_own_or_a_kind_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=names[0].partition(".")[0]):
        runner.parse(dict.fromkeys(names, "SELECT 1"))
