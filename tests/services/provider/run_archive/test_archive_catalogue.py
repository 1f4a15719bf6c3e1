"""What was archived is found in the database, where the Fleet pages look, and comes from the store alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pytest

import servers
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import archive_list
from airfleet_provider.contract.archive_list import ArchivedRuns, RunSearch
from airfleet_provider.run_archive import agent, command, manifest, restore
from airfleet_provider.run_archive.store import MANIFESTS, RunStore
from airflow_tables import serve
from old_runs import find_hours, make_dag

RUNS = 6
BEFORE = datetime.now(UTC) - timedelta(days=30)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


class Shelf:
    """A database, the archive of its old runs, and what the Fleet pages show of it."""

    def __init__(self, server: servers.Server, folder: Path) -> None:
        self.server = server
        self.folder = str(folder)
        self.database = agent.ArchivedDatabase(functools.partial(connect, server.dsn), server.dsn)

    def archive(self, dag: str) -> agent.ArchiveTotals:
        totals = agent.archive(self.database, self.folder, BEFORE, dag_id=dag, pause=0)
        command.renew_catalogue(self.folder)
        return totals

    def read(self, read: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - what `read` returns
        with closing(connect(self.server.dsn)) as connection:

            def ask(statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
                with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                    cursor.execute(statement, values)
                    return [dict(row) for row in cursor.fetchall()]

            return read(ask)

    def find(self, dag: str, **words: Any) -> ArchivedRuns:  # noqa: ANN401 - as `RunSearch` takes them
        found = self.read(lambda ask: archive_list.find_runs(ask, RunSearch(dag, **words)))
        assert isinstance(found, ArchivedRuns)
        return found

    def count(self) -> dict[str, int]:
        return {one.dag_id: one.runs for one in self.read(archive_list.list_dags)}


def connect(dsn: str) -> Any:  # noqa: ANN401 - psycopg2 has no types
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shelf]:
    with serve() as server:
        server.query("INSERT INTO log_template (filename, elasticsearch_id, created_at) VALUES ('f', 'e', now())")
        server.query("CREATE TABLE IF NOT EXISTS alembic_version AS SELECT 'a' AS version_num")
        hours = find_hours(60, datetime.now(UTC))
        for dag in ("old", "other"):
            make_dag(server.query, dag, runs=RUNS, tasks=2, hours=hours, rare=False)
        monkeypatch.setattr(metadata_db, "connect", lambda *_: connect(server.dsn))
        yield Shelf(server, tmp_path / "archive")


def test_archived_runs_are_found_by_dag_time_and_name(shelf: Shelf) -> None:
    assert shelf.count() == {}
    archived = shelf.archive("old").runs
    assert shelf.count() == {"old": archived}
    found = shelf.find("old")
    assert (len(found.runs), found.is_cut, sum(one.runs for one in found.months)) == (archived, False, archived)
    assert {one.tasks for one in found.runs} == {2}
    assert {one.state for one in found.runs} == {None}
    moments = [one.run_after for one in found.runs]
    assert moments == sorted(moments, reverse=True)
    some = shelf.find("old", since=moments[-2], until=moments[0])
    assert [one.run_after for one in some.runs] == moments[1:-1], "from a moment, and until before another"
    name = found.runs[2].run_id
    assert name in {one.run_id for one in shelf.find("old", text=name.upper()).runs}
    assert shelf.find("old", text="%").runs == ()
    assert shelf.find("other").runs == ()


def test_a_restored_run_is_shown_as_one_and_once_when_it_is_archived_again(shelf: Shelf) -> None:
    archived = shelf.archive("old").runs
    restore.restore(
        shelf.database,
        shelf.folder,
        dag_id="old",
        since=EVER[0],
        until=EVER[1],
        now=datetime.now(UTC),
        hold=timedelta(0),
    )
    assert {one.state for one in shelf.find("old").runs} == {"success"}
    assert shelf.archive("old").runs == archived
    assert len(shelf.find("old").runs) == archived
    assert {one.state for one in shelf.find("old").runs} == {None}


def test_the_store_is_the_truth(shelf: Shelf, capfd: pytest.CaptureFixture[str]) -> None:
    shelf.archive("old")
    shelf.archive("other")
    whole = shelf.count()
    # A backup of the database from before, or a version that did not keep the list.
    shelf.server.query("DELETE FROM airfleet.archived_batch WHERE dag_id = 'old'")
    command.renew_catalogue(shelf.folder)
    assert shelf.count() == whole
    # Somebody removes a batch from the store.
    store = RunStore(shelf.folder)
    for path in list(store.list_paths(MANIFESTS)):
        if manifest.read(json.loads(store.read(path))).dag_id == "other":
            store.remove(path)
    command.renew_catalogue(shelf.folder)
    assert shelf.count() == {"old": whole["old"]}
    # An archive that has ended is no failure because its list could not be read.
    (Path(shelf.folder) / MANIFESTS / "2000-01").mkdir()
    (Path(shelf.folder) / MANIFESTS / "2000-01" / "broken.json").write_text("{")
    command.renew_catalogue(shelf.folder)
    assert "do not show the new batches yet" in capfd.readouterr().err
    assert shelf.count() == {"old": whole["old"]}
