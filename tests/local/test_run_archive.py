"""The archive of finished runs on a real metadata database: what is archived, kept and restored, also over a kill."""

from __future__ import annotations

# ruff: noqa: S608 - names of the test's own
import itertools
import os
import signal
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from airfleet_provider.run_archive import agent, query, restore, tables
from airfleet_provider.run_archive.export import read_file
from airfleet_provider.run_archive.store import DamagedError, RunStore
from old_runs import find_hours, make_dag
from shops import Database

pytestmark = pytest.mark.local

OLD = timedelta(days=30)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


class Archive:
    """An archive of one Dag in a folder of the test's own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder, self.query, self.dag = str(folder), database.query, f"old_{uuid.uuid4().hex[:8]}"
        self.database = agent.ArchivedDatabase(lambda: self._connect(database.dsn), database.dsn)

    @staticmethod
    def _connect(dsn: str) -> Any:  # noqa: ANN401 - psycopg2 has no types
        connection = psycopg2.connect(dsn)
        connection.autocommit = True
        return connection

    def make(self, *, runs: int = 8, tasks: int = 2, hours: int | None = None) -> None:
        hours = hours or find_hours(60, datetime.now(UTC))
        make_dag(self.query, self.dag, runs=runs, tasks=tasks, hours=hours)

    def run(self, **options: Any) -> agent.ArchiveTotals:  # noqa: ANN401 - as `agent.archive` takes them
        return agent.archive(self.database, self.folder, datetime.now(UTC) - OLD, dag_id=self.dag, **options)

    def restore(self, *, days: float = 7) -> restore.Restored:
        return restore.restore(
            self.database,
            self.folder,
            dag_id=self.dag,
            since=EVER[0],
            until=EVER[1],
            now=datetime.now(UTC),
            hold=timedelta(days=days),
        )

    def count(self) -> dict[str, int]:
        """Return the number of rows of the Dag's runs for each table."""
        schema = tables.read_schema(self.query)
        statement = "SELECT count(*) FROM {} WHERE run.dag_id = %s"
        return {one.table: self.query(statement.format(one.path), self.dag)[0][0] for one in schema.owned}

    def count_archived(self) -> dict[str, int]:
        found = query.read_manifests(RunStore(self.folder))
        return {table: sum(one.files[table].rows for one in found) for table in found[0].files}

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in query.query(self.folder, sql).rows]


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Archive:
    return Archive(database, tmp_path / "archive")


def test_every_table_of_airflow_is_classified(database: Database) -> None:
    """A new table fails here: say in `tables.KNOWN` whether its rows belong to a run."""
    schema = tables.read_schema(database.query)
    assert tables.list_tables(database.query) == tables.KNOWN.keys()
    found = {one.table: one.kind for one in schema.sources}
    assert found == {table: kind for table, kind in tables.KNOWN.items() if kind is not tables.TableKind.OTHER}


def test_a_column_that_names_a_run_is_in_a_table_that_is_known(database: Database) -> None:
    names = ("run_id", "dag_run_id", "dagrun_id", "ti_id", "task_instance_id", "created_dag_run_id")
    found = {row[0] for row in database.query(tables.SQL["columns"]) if row[1] in names}
    assert {one for one in found if tables.KNOWN[one] is tables.TableKind.OTHER} == set()


def test_finished_runs_go_and_come_back_as_they_were(archive: Archive) -> None:
    archive.make()
    before = archive.count()
    assert all(before.values()), "the test has a row in every table"
    links = archive.query(
        "SELECT id, dag_run_id FROM backfill_dag_run WHERE logical_date IN (SELECT logical_date"
        " FROM dag_run WHERE dag_id = %s) ORDER BY id",
        archive.dag,
    )

    totals = archive.run()

    assert (totals.runs, totals.task_instances, totals.changed, totals.busy) == (7, 14, 0, 0)
    left, gone = archive.count(), archive.count_archived()
    assert {table: left[table] + gone[table] for table in before} == before
    assert left["dag_run"] == 1, "the newest run is where the schedule goes on"
    assert archive.ask("SELECT count(*), count(DISTINCT archive_run_id) FROM xcom") == [(14, 7)]
    assert archive.ask("SELECT (value->>'$.rows')::int >= 0 FROM xcom LIMIT 1") == [(True,)]
    assert archive.ask(
        "SELECT DISTINCT v.dag_id FROM task_instance t JOIN dag_version v ON v.id = t.dag_version_id"
    ) == [(archive.dag,)]

    assert archive.restore() == restore.Restored(runs=7, identical=7, rows=sum(gone[one] for one in before))
    assert archive.count() == before
    assert links == archive.query(
        "SELECT id, dag_run_id FROM backfill_dag_run WHERE logical_date IN (SELECT"
        " logical_date FROM dag_run WHERE dag_id = %s) ORDER BY id",
        archive.dag,
    )
    assert archive.restore().present == 7, "a second restore changes nothing"
    assert archive.run().runs == 0, "restored runs are not archived again at once"


def test_what_is_not_finished_or_not_old_stays(archive: Archive) -> None:
    archive.make(hours=31 * 24, runs=30)  # one an hour: some are younger than 30 days
    runs = [row[0] for row in archive.query("SELECT id FROM dag_run WHERE dag_id = %s ORDER BY run_after", archive.dag)]
    archive.query("UPDATE dag_run SET state = 'running', end_date = NULL WHERE id = %s", runs[0])
    archive.query("UPDATE dag_run SET state = 'failed' WHERE id = %s", runs[1])
    archive.query(
        "UPDATE task_instance SET state = 'running' WHERE task_id = 'task_1' AND (dag_id, run_id) = (SELECT dag_id,"
        " run_id FROM dag_run WHERE id = %s)",
        runs[1],
    )
    archive.query("UPDATE backfill SET completed_at = NULL WHERE dag_id = %s", archive.dag)
    archive.query(
        "UPDATE dag_run SET backfill_id = (SELECT id FROM backfill WHERE dag_id = dag_run.dag_id) WHERE id = %s",
        runs[2],
    )
    assert sum(
        one.runs for one in agent.preview(archive.database, archive.folder, datetime.now(UTC) - OLD, archive.dag)
    )
    archive.run()
    left = {row[0] for row in archive.query("SELECT id FROM dag_run WHERE dag_id = %s", archive.dag)}
    young = {
        row[0]
        for row in archive.query(
            "SELECT id FROM dag_run WHERE dag_id = %s AND end_date > now() - interval '30 days'", archive.dag
        )
    }
    assert left == {*runs[:3], *young}
    assert young


def test_a_run_that_changes_while_it_is_archived_stays(archive: Archive) -> None:
    archive.make()
    [[run]] = archive.query("SELECT min(id) FROM dag_run WHERE dag_id = %s", archive.dag)

    def change(step: str) -> None:
        if step == "manifest":
            archive.query("UPDATE dag_run_note SET content = 'seen' WHERE dag_run_id = %s", run)

    totals = archive.run(notice=change)
    assert (totals.runs, totals.changed) == (6, 1)
    assert archive.query("SELECT content FROM dag_run_note WHERE dag_run_id = %s", run) == [("seen",)]
    assert archive.run().runs == 1
    assert archive.ask("SELECT count(*), count(DISTINCT id) FROM dag_run") == [(7, 7)], "it is in the archive once"
    assert archive.ask(f"SELECT content FROM dag_run_note WHERE dag_run_id = {run}") == [("seen",)]


def test_a_run_that_changes_after_an_interruption_stays_until_its_new_rows_are_archived(archive: Archive) -> None:
    archive.make()

    def stop(step: str) -> None:
        if step.startswith("delete "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.run(notice=stop)
    [[run]] = archive.query("SELECT min(id) FROM dag_run WHERE dag_id = %s", archive.dag)
    archive.query("UPDATE dag_run_note SET content = 'seen' WHERE dag_run_id = %s", run)
    assert archive.run().changed == 1
    assert archive.ask(f"SELECT content FROM dag_run_note WHERE dag_run_id = {run}") == [("seen",)]
    assert archive.count()["dag_run"] == 1


def test_a_run_stays_if_its_deletion_would_take_a_row_that_is_in_no_file(archive: Archive) -> None:
    """An XCom that names one run by its id and another one by its key goes with the latter."""
    archive.make()
    first, last = archive.query(
        "SELECT id FROM dag_run WHERE dag_id = %s AND run_after IN (SELECT min(run_after) FROM dag_run WHERE dag_id ="
        " %s UNION SELECT max(run_after) FROM dag_run WHERE dag_id = %s) ORDER BY run_after",
        *[archive.dag] * 3,
    )
    archive.query(
        "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp) SELECT %s, task_id,"
        " map_index, 'other', dag_id, run_id, '1', now() FROM xcom WHERE dag_run_id = %s LIMIT 1",
        last[0],
        first[0],
    )
    told: list[str] = []
    totals = archive.run(report=told.append)
    assert (totals.runs, totals.changed) == (6, 1)
    assert [one for one in told if "rows of xcom that are not in the archive" in one]
    assert archive.query("SELECT count(*) FROM xcom WHERE key = 'other' AND dag_id = %s", archive.dag) == [(1,)]
    assert {first[0], last[0]} == {
        row[0] for row in archive.query("SELECT id FROM dag_run WHERE dag_id = %s", archive.dag)
    }


def test_no_row_is_lost_wherever_it_is_killed(archive: Archive) -> None:
    archive.make(runs=6)
    before = archive.count()
    is_written = False
    # Until the manifest is there, each call begins a new batch; then each goes on with the deletion.
    numbers = itertools.count()
    while True:
        if not is_written and query.read_manifests(RunStore(archive.folder)):
            is_written, numbers = True, itertools.count()
        number = next(numbers)
        child = os.fork()
        if not child:
            steps = itertools.count()

            def end(_: str, number: int = number, steps: Any = steps) -> None:  # noqa: ANN401 - a counter
                if next(steps) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                archive.run(notice=end)
            except BaseException:
                os._exit(1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL)
        held = archive.count()["dag_run"]
        archived = {run.id for one in query.read_manifests(RunStore(archive.folder)) for run in one.runs}
        present = {row[0] for row in archive.query("SELECT id FROM dag_run WHERE dag_id = %s", archive.dag)}
        assert len(archived | present) == before["dag_run"], f"killed at step {number}"
        assert held >= 1
        if code == 0:
            break
    assert archive.count()["dag_run"] == 1
    store = RunStore(archive.folder)
    named = set()
    for one in query.read_manifests(store):
        for file in one.files.values():
            assert read_file(store, file).num_rows == file.rows
            named.add(store.locate(file.path))
    assert {str(path) for path in Path(archive.folder).rglob("*.parquet")} == named, (
        "no file without a manifest is left"
    )
    assert not list(Path(archive.folder).glob("intents/*"))
    assert archive.restore().identical == 5
    assert archive.count() == before


def test_a_file_that_was_changed_is_never_restored(archive: Archive) -> None:
    archive.make()
    archive.run()
    left = archive.count()
    (file,) = Path(archive.folder).glob("data/xcom/*/*/*.parquet")
    file.write_bytes(file.read_bytes()[:-9] + b"x" * 9)
    with pytest.raises(DamagedError, match="hash"):
        archive.restore()
    assert archive.count() == left


def test_runs_of_a_dag_that_is_gone_come_back_with_it(archive: Archive) -> None:
    archive.make()
    archive.run()
    for table in ("dag_run", "dag_version", "dag"):
        archive.query(f"DELETE FROM {table} WHERE dag_id = %s", archive.dag)
    done = archive.restore()
    assert (done.runs, done.identical) == (7, 7)
    assert archive.query("SELECT is_stale, is_paused FROM dag WHERE dag_id = %s", archive.dag) == [(True, True)]
    joined = "SELECT count(*) FROM serialized_dag JOIN dag_version v ON v.id = dag_version_id WHERE v.dag_id = %s"
    assert archive.query(joined, archive.dag) == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT * FROM connection",
    ],
)
def test_a_query_reaches_nothing_but_the_archive(archive: Archive, sql: str, tmp_path: Path) -> None:
    archive.make(runs=2)
    archive.run()
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(query.QueryError):
        archive.ask(sql.format(folder=tmp_path))
    assert sorted(tmp_path.rglob("*")) == files


def test_two_at_once_are_refused(archive: Archive) -> None:
    archive.make(runs=2)
    holder = agent.lock(archive.database)
    with pytest.raises(agent.ArchiveBusyError):
        archive.run()
    holder.close()
    assert archive.run().runs == 1


def test_the_command_runs_beside_airflow(database: Database, archive: Archive) -> None:
    archive.make(runs=3)
    words = ("airfleet", "archive", "--store", archive.folder)
    run = (*words[:2], "run", *words[2:], "--json")
    before = (datetime.now(UTC) - OLD).isoformat()
    ended = "SELECT ended_at FROM airfleet.job WHERE name = 'run-archive'"
    last = database.query(ended)
    assert '"runs": 2' in database.airflow(*run, "--before", before, "--dag", archive.dag)
    assert database.query(ended) == last, "the archive of one Dag is not that of the platform"
    assert '"runs": 0' in database.airflow(*run, "--before", "2001-01-01")
    assert database.query(ended) != last
    asked = database.airflow(*words[:2], "query", *words[2:], "--sql", "SELECT count(*) AS n FROM dag_run", "--json")
    assert '"n": 2' in asked
    for since, is_listed in (("2000-01-01", True), ("2100-01-01", False)):
        found = database.airflow(*words[:2], "list", *words[2:], "--from", since, "--json")
        assert ('"batch"' in found) is is_listed
