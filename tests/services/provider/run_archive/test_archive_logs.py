"""Logs of archived tasks: they leave the host only once the archive has them, and come back where Airflow looks."""

from __future__ import annotations

# ruff: noqa: S608 - names of the test's own
import functools
import itertools
import os
import signal
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import psycopg2
import pytest
from airflow.configuration import conf

import servers
from airfleet_provider.contract.archive_store import ArchiveStoreError
from airfleet_provider.log_index.day_indexes import DayIndexReader, DayIndexWriter
from airfleet_provider.log_index.lines import TASK, Line, LineOrigin
from airfleet_provider.log_index.store import LogReader, LogStoreError
from airfleet_provider.run_archive import agent, export, log_files, query, restore, task_logs
from airfleet_provider.run_archive.store import RunStore
from airfleet_provider.run_archive.task_logs import LogPlaces
from airflow_tables import serve
from log_hosts import LogHost
from old_runs import find_hours, make_dag

RUNS, TASKS = 4, 2
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
# The newest run of a Dag stays.
GONE = (RUNS - 1) * TASKS


class Host:
    """A host with a database of old runs, and the logs of their tasks."""

    def __init__(self, server: servers.Server, folder: Path) -> None:
        self.server, self.logs, self.store = server, folder / "logs", str(folder / "archive")
        self.dag = f"old_{uuid.uuid4().hex[:8]}"
        make_dag(server.query, self.dag, runs=RUNS, tasks=TASKS, hours=find_hours(60, datetime.now(UTC)), rare=False)
        self.database = agent.ArchivedDatabase(functools.partial(connect, server.dsn), server.dsn)
        self.runs = [
            row[0] for row in server.query("SELECT run_id FROM dag_run WHERE dag_id = %s ORDER BY run_after", self.dag)
        ]
        for run, task in itertools.product(self.runs, range(1, TASKS + 1)):
            self.write(run, f"task_{task}", "attempt=1.log", f"{run} {task}\n" * 50)

    def write(self, run: str, task: str, name: str, text: str) -> Path:
        path = self.logs / f"dag_id={self.dag}" / f"run_id={run}" / f"task_id={task}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self) -> dict[str, bytes]:
        files = (one for one in self.logs.rglob("*") if one.is_file() and not one.is_symlink())
        return {str(one.relative_to(self.logs)): one.read_bytes() for one in files}

    def archive(self, **options: Any) -> agent.ArchiveTotals:  # noqa: ANN401 - as `agent.archive` takes them
        options = {"logs": LogPlaces(self.logs), "dag_id": self.dag, **options}
        return agent.archive(self.database, self.store, datetime.now(UTC) - timedelta(days=30), **options)

    def restore(
        self, *, days: float = 7, open_reader: Callable[[], LogReader | None] = lambda: None
    ) -> restore.Restored:
        return restore.restore(
            self.database,
            self.store,
            dag_id=self.dag,
            since=EVER[0],
            until=EVER[1],
            now=datetime.now(UTC),
            hold=timedelta(days=days),
            logs=LogPlaces(self.logs, open_reader),
        )

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in query.query(self.store, sql).rows]

    def read_archived(self) -> dict[str, bytes]:
        """Return the logs that the manifests of the archive name."""
        found: dict[str, bytes] = {}
        store = RunStore(self.store)
        for one in query.read_manifests(store):
            for part in one.logs.parts:
                table = export.read_file(store, part).to_pylist()
                assert len(table) == part.rows
                for row in table:
                    found[row["path"]] = (found[row["path"]] if row["position"] else b"") + row["content"]
        return found


def connect(dsn: str) -> Any:  # noqa: ANN401 - psycopg2 has no types
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with serve() as one:
        one.query("INSERT INTO log_template (filename, elasticsearch_id, created_at) VALUES ('f', 'e', now())")
        one.query("CREATE TABLE IF NOT EXISTS alembic_version AS SELECT 'a' AS version_num")
        yield one


@pytest.fixture
def host(server: servers.Server, tmp_path: Path) -> Host:
    return Host(server, tmp_path)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "PIECE_BYTES", 100)
    monkeypatch.setattr(task_logs, "PART_BYTES", 3000)


@pytest.mark.usefixtures("small_pieces")
def test_logs_go_with_their_runs_and_come_back_as_they_were(host: Host) -> None:
    host.write(host.runs[0], "task_1", "attempt=1.log.trigger.7.log", "waited\n")
    host.write(host.runs[0], "task_1", "attempt=2.log", "")
    before = host.read()

    totals = host.archive()

    assert (totals.logs, totals.removed_logs) == (GONE + 2, GONE + 2)
    assert {path.parts[1] for path in map(Path, host.read())} == {f"run_id={host.runs[-1]}"}
    assert [one.name for one in (host.logs / f"dag_id={host.dag}").iterdir()] == [f"run_id={host.runs[-1]}"], (
        "no empty folder of a run is left"
    )
    (listed,) = query.read_manifests(RunStore(host.store))
    assert (listed.logs.number, len(listed.logs.parts) > 1) == (GONE + 2, True)
    assert host.ask(
        f"SELECT task_id, try_number, sum(length(decode(content))) FROM task_log WHERE run_id = '{host.runs[0]}'"
        " AND path NOT LIKE '%trigger%' GROUP BY ALL ORDER BY ALL"
    ) == [
        ("task_1", 1, len(f"{host.runs[0]} 1\n") * 50),
        ("task_1", 2, 0),
        ("task_2", 1, len(f"{host.runs[0]} 2\n") * 50),
    ]

    assert host.restore(days=0).logs == GONE + 2
    assert host.read() == before
    assert host.restore(days=0).logs == 0, "what is there stays"

    archived = host.read_archived()
    assert host.archive().removed_logs == GONE + 2
    assert host.read_archived() == archived
    assert host.ask("SELECT count(*) FROM task_log WHERE position = 0") == [(GONE + 2,)], "each is there once"


@pytest.mark.usefixtures("small_pieces")
def test_no_log_is_lost_wherever_it_is_killed(host: Host) -> None:
    before = host.read()
    # Until the manifest is there, each call begins a new batch; then each goes on with what is left.
    is_written, numbers = False, itertools.count()
    while True:
        if not is_written and query.read_manifests(RunStore(host.store)):
            is_written, numbers = True, itertools.count()
        code = run_until(next(numbers), host.archive)
        kept = {**host.read_archived(), **host.read()}
        assert kept == before
        if code == 0:
            break
    assert host.read_archived().keys() | host.read().keys() == before.keys()
    assert len(host.read()) == TASKS
    assert not list(Path(host.store).glob("intents/*"))
    named = {part.path for one in query.read_manifests(RunStore(host.store)) for part in one.logs.parts}
    assert {str(one.relative_to(host.store)) for one in Path(host.store).rglob("task_log/**/*.parquet")} == named
    assert host.restore().logs == GONE
    assert host.read() == before


def run_until(step: int, archive: Callable[..., object]) -> int:
    """Run an archive in a child that kills itself before the step of this number; return its exit code."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps = itertools.count()

    def end(_: str) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        archive(notice=end)
    except BaseException:
        os._exit(1)
    os._exit(0)


def test_a_log_that_changes_meanwhile_stays(host: Host) -> None:
    path = host.write(host.runs[0], "task_1", "attempt=1.log", "first\n")

    def change(step: str) -> None:
        if step == "manifest":
            path.write_text("first\nsecond\n")

    told: list[str] = []
    totals = host.archive(notice=change, report=told.append)
    assert (totals.logs, totals.removed_logs) == (GONE, GONE - 1)
    assert path.read_text() == "first\nsecond\n"
    assert [one for one in told if "1 log stay" in one]


def test_logs_of_a_run_that_stays_or_was_made_anew_stay(host: Host) -> None:
    changed, anew = host.runs[0], host.runs[1]

    def change(step: str) -> None:
        if step == "manifest":
            host.server.query(
                "UPDATE task_instance SET hostname = 'other' WHERE (dag_id, run_id) = (%s, %s)", host.dag, changed
            )
        if step == "remove logs":
            host.server.query(
                "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, state) VALUES (%s, %s, 'manual', now(),"
                " 'queued') ON CONFLICT DO NOTHING",
                *(host.dag, anew),
            )

    totals = host.archive(notice=change)
    assert (totals.runs, totals.removed_logs) == (RUNS - 2, (RUNS - 3) * TASKS)
    assert {path.parts[1] for path in map(Path, host.read())} == {
        f"run_id={one}" for one in (changed, anew, host.runs[-1])
    }


def test_what_was_restored_stays_though_the_archive_before_was_killed_at_its_end(host: Host) -> None:
    def end(step: str) -> None:
        if step == "end intent":
            raise InterruptedError("killed here")

    before = host.read()
    with pytest.raises(InterruptedError):
        host.archive(notice=end)
    assert host.restore().runs == RUNS - 1

    assert host.archive().runs == 0
    assert not list(Path(host.store).glob("intents/*"))
    assert host.server.query("SELECT count(*) FROM dag_run WHERE dag_id = %s", host.dag) == [(RUNS,)]
    assert host.read() == before


def test_logs_do_not_come_back_to_another_run_of_the_same_name(host: Host) -> None:
    anew = host.runs[0]
    host.archive()
    host.server.query(
        "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, state) VALUES (%s, %s, 'manual', now(), 'queued')",
        *(host.dag, anew),
    )
    own = host.write(anew, "task_1", "attempt=1.log", "of the other run\n")

    done = host.restore()
    assert (done.runs, done.present, done.logs) == (RUNS - 2, 1, (RUNS - 2) * TASKS)
    assert [one.name for one in own.parent.parent.rglob("*.log")] == ["attempt=1.log"]


def test_a_restored_log_is_on_the_disk_before_it_has_its_name(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there is never restored again: a power cut must not leave an empty one."""
    host.archive()
    synced: set[int] = set()
    sync, link = os.fsync, os.link

    def note(number: int) -> None:
        sync(number)
        synced.add(os.fstat(number).st_ino)

    def give_name(source: str, name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        assert os.stat(source, dir_fd=src_dir_fd).st_ino in synced
        link(source, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "link", give_name)
    assert host.restore().logs == GONE


def test_a_link_leads_nowhere(host: Host, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "attempt=1.log").write_text("password")
    run = host.logs / f"dag_id={host.dag}" / f"run_id={host.runs[0]}"
    (run / "task_id=task_1" / "attempt=9.log").symlink_to(secret / "attempt=1.log")
    (run / "task_id=linked").symlink_to(secret)
    os.mkfifo(run / "task_id=task_1" / "attempt=8.log")

    assert host.archive().logs == GONE
    assert host.ask("SELECT count(*) FROM task_log WHERE decode(content) LIKE '%password%'") == [(0,)]

    (run / "task_id=task_2").symlink_to(secret)
    with pytest.raises(ArchiveStoreError, match="task_id=task_2"):
        host.restore()
    assert (secret / "attempt=1.log").read_text() == "password"


def test_nothing_that_a_task_puts_beside_its_log_holds_up_the_archive(host: Host) -> None:
    grown = host.write(host.runs[0], "task_1", "attempt=1.log", "first\n")
    host.write(host.runs[0], "task_1/" + "a/" * 6, "of-a-task.txt", "text\n")
    deep = host.write(host.runs[0], "task_1/" + "a/" * 30, "attempt=1.log", "too deep\n")
    holes = host.write(host.runs[0], "task_1", "attempt=7.log", "begin\n")
    os.truncate(holes, 1 << 40)

    def change(step: str) -> None:
        if step == "remove logs":
            os.truncate(grown, 1 << 28)
            tracemalloc.start()

    try:
        totals = host.archive(notice=change)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (totals.logs, totals.removed_logs) == (GONE + 1, GONE)
    assert peak < 1 << 26, "a file is compared with its copy in pieces, whatever it has become"
    assert {one for one in (grown, holes, deep) if one.exists()} == {grown, holes, deep}
    os.truncate(grown, 0)
    os.truncate(holes, 0)


def test_a_restore_writes_into_nothing_that_a_task_has_put_there(host: Host, tmp_path: Path) -> None:
    long = host.write(host.runs[0], "task_1", f"{'n' * 255}", "a long name\n")
    before = host.read()
    host.archive()
    precious = tmp_path / "precious"
    precious.write_text("of somebody else")
    for run in host.runs[:2]:
        (long.parent.parent.parent / f"run_id={run}" / "task_id=task_1").mkdir(parents=True)
    draft = long.parent / log_files.name_draft("attempt=1.log")
    os.mkfifo(draft)
    draft = Path(str(draft).replace(host.runs[0], host.runs[1]))
    draft.hardlink_to(precious)

    assert host.restore().logs == GONE + 1
    assert host.read() == before
    assert precious.read_text() == "of somebody else"


def test_what_only_the_index_has_is_archived_too(host: Host, tmp_path: Path) -> None:
    run, index = host.runs[0], tmp_path / "index"
    (host.logs / f"dag_id={host.dag}" / f"run_id={run}" / "task_id=task_1" / "attempt=1.log").unlink()
    origin = LineOrigin("worker1", TASK, host.dag, "task_1", run, -1, 1)
    writer = DayIndexWriter(index, lambda: datetime.now(UTC).timestamp())
    at = int(datetime.now(UTC).timestamp() * 1e6)
    for number, text in enumerate(("grüße", "the end"), start=1):
        writer.add([Line("worker1:x", number * 10, at + number, "info", text, text, origin)])
    writer.commit()
    writer.close()

    totals = host.archive(logs=LogPlaces(host.logs, lambda: DayIndexReader(index)))
    assert (totals.logs, totals.removed_logs) == (GONE, GONE - 1)
    host.restore()
    # Where Airflow's UI looks for it.
    task = SimpleNamespace(dag_id=host.dag, run_id=run, task_id="task_1", map_index=-1)
    found = jinja2.Template(conf.get("logging", "log_filename_template")).render(ti=task, try_number=1)
    assert (host.logs / found).read_text() == "grüße\nthe end\n"


def test_restored_logs_are_in_the_index_once(host: Host, tmp_path: Path) -> None:
    """The files of the archive are others than those that the log agent read, with the same lines."""
    agent_host = LogHost(tmp_path / "agent")
    host.logs.rename(agent_host.tasks)
    host.logs = agent_host.tasks
    agent_host.take()
    lines = agent_host.reader.count()
    assert lines > 0
    host.archive()

    assert host.restore(open_reader=lambda: agent_host.reader).logs == GONE
    agent_host.restart()
    agent_host.take()
    if not any(os.listxattr(one) for one in host.logs.rglob("*.log")):
        pytest.skip("the file system of the temporary folder has no extended attributes")
    assert agent_host.reader.count() == lines


@pytest.mark.parametrize(("seconds", "times"), [(float("inf"), 1), (0.0, RUNS - 1)], ids=["at once", "for long"])
def test_the_database_is_asked_once_for_all_runs_of_a_batch_and_again_later(
    host: Host, monkeypatch: pytest.MonkeyPatch, seconds: float, times: int
) -> None:
    monkeypatch.setattr(agent, "NAMED_S", seconds)
    steps: list[str] = []
    assert host.archive(notice=steps.append).removed_logs == GONE
    assert steps.count("remove logs") == times


def test_no_run_goes_while_the_index_of_its_logs_is_away(host: Host) -> None:
    class Away(DayIndexReader):
        def search(self, *_: object) -> Any:  # noqa: ANN401 - it never returns
            raise LogStoreError("the log store does not answer")

    before = host.read()
    places = LogPlaces(host.logs, lambda: Away(host.logs), has_hosts=True)
    with pytest.raises(ArchiveStoreError, match="does not answer"):
        host.archive(logs=places)
    assert host.read() == before
    assert host.server.query("SELECT count(*) FROM dag_run WHERE dag_id = %s", host.dag) == [(RUNS,)]
    assert host.archive().logs == GONE, "the next call drops what was begun"
