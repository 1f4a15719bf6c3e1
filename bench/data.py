"""The care for Airflow's metadata database, measured on a server of its own with generated runs.

make bench-data                          one million task instances: bench/results/data.json
make bench-data ARGS="--tasks 40000"     a quick look; nothing is kept of it
make bench-data ARGS="--data /a/folder"  keep the generated rows in the folder, and use those that are there

What is counted. `archive_1m_s`: `airfleet db archive run` without rests, from its first statement to its last, for a
million task instances with their runs, an XCom and two log rows each; another number of task instances is scaled to a
million, and so is `archive_cpu_1m_s`, the processor time of the archive and of PostgreSQL meanwhile, which does not
depend on what else the machine does. `load` is the machine's load before. `archive_bytes_ratio`: bytes of the Parquet
files, divided by the bytes of the tables before, indexes included. `restore_4000_s`: one Dag's 4,000 task instances.
`wal_ratio`: bytes of WAL of a heartbeat before `airfleet db care`, divided by those after it.

`database_p95_ratio`: a client does every 50 ms what the start of a task does to the database: it locks one of 500
scheduled task instances, and brings it to `queued`, to `running`, and back, in four transactions. The ratio is the 95th
percentile of its times while the archive works as the platform's own archiver does, with rests (`archive.pause` of
fleet.yaml), divided by the one while nothing is archived. Both take turns, as the load of the machine changes.
`archive_1m_with_rests_s` is how long a million would take so. `database_p95_ratio_without_rests` is the same ratio for
the archive without rests. How long tasks of a whole platform take to start meanwhile is measured by
`bench/archive_starts.py`, which adds the keys `start_*`.

The server has PostgreSQL's settings, but for `fsync`, which is off, and for `shared_buffers`, which has a quarter of
the memory as on a host of a fleet, 2 GiB at most.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import psycopg2

import old_runs
import shops
from airfleet.spec.fleet import Archive
from airfleet_provider.database_care import agent as care
from airfleet_provider.run_archive import agent, query, restore
from airfleet_provider.run_archive.store import RunStore
from support import RESULTS, count_cpu, family, say, write

TASKS_PER_RUN, RUNS_PER_DAG = 10, 401
TABLES = ("dag_run", "task_instance", "xcom", "log")
SIZE = "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(%s::text[]) AS name"
EVERY_S = 0.05
# Seconds of a turn in which tasks start while the archive works, or while it does not; and the number of both.
TURN_S, TURNS = 10.0, 4
LIVE = "live"
# The database with the generated rows; each call measures on a copy of it.
MADE, COPY = "made", "measured"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="task instances to archive")
    parser.add_argument("--data", type=Path, help="keep the generated rows in this folder")
    parser.add_argument("--only-make", action="store_true", help="generate the rows of --data, and measure nothing")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        name = chosen.data or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="airfleet-data-", ignore_cleanup_errors=True)
        )
        folder = Path(name).absolute()
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        memory = min(psutil.virtual_memory().total // 4, 2 * 2**30) // 2**20
        port = stack.enter_context(shops.start_postgres(folder, shared_buffers=f"{memory}MB"))
        make(folder, port, chosen.tasks)
        if chosen.only_make:
            return
        dsn = copy(port)
        server = psutil.Process(int((folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))
        with tempfile.TemporaryDirectory(prefix="airfleet-archive-") as store:
            figures = measure(dsn, server, store)
    print(json.dumps(figures, indent=2))
    if chosen.tasks >= 1_000_000:
        write("data", {**figures, **read_others()})
        say(f"written: {RESULTS / 'data.json'}")
    else:
        say("fewer than a million task instances: bench/results/data.json stays as it is")


def read_others() -> dict[str, Any]:
    """The figures that `bench/tls.py` and `bench/archive_starts.py` have written beside these."""
    path = RESULTS / "data.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return {key: value for key, value in known.items() if key.startswith(("tls_", "clear_", "start"))}


def name_dsn(port: int, database: str) -> str:
    return f"host=127.0.0.1 port={port} user=postgres dbname={database}"


def make(folder: Path, port: int, tasks: int) -> None:
    """Fill the database `made` with Airflow's schema and the runs, unless it has them."""
    mark = f"{tasks} task instances"
    with psycopg.connect(name_dsn(port, "template1"), autocommit=True) as server:
        found = server.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (MADE,)
        ).fetchone()
        if found and found[0] == mark:
            say(f"using the {mark} of {folder}")
            return
        # What another call has made, or was killed in the midst of.
        for name in ("postgres", MADE, COPY):
            server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        server.execute("CREATE DATABASE postgres")
    shutil.rmtree(folder / "packages", ignore_errors=True)
    database = shops.migrate(folder, port)
    dags, begun = max(1, round(tasks / (TASKS_PER_RUN * (RUNS_PER_DAG - 1)))), time.monotonic()
    with psycopg.connect(database.dsn, autocommit=True) as connection:

        def run(statement: str) -> list[tuple[Any, ...]]:
            connection.execute(statement.encode())
            return []

        for number in range(dags):
            old_runs.make_dag(
                run,
                f"dag_{number:04}",
                runs=RUNS_PER_DAG,
                tasks=TASKS_PER_RUN,
                hours=120 * 24,
                rare=False,
            )
            if number % 25 == 24:
                say(f"made {(number + 1) / dags:.0%} of {mark} in {time.monotonic() - begun:.0f} s")
        old_runs.make_dag(run, LIVE, runs=50, tasks=10, hours=100, rare=False)
        connection.execute("UPDATE task_instance SET state = 'scheduled' WHERE dag_id = %s", (LIVE,))
        connection.execute("VACUUM ANALYZE")
    with psycopg.connect(name_dsn(port, "template1"), autocommit=True) as server:
        server.execute(f"ALTER DATABASE postgres RENAME TO {MADE}")
        # `start_postgres` knows by this database that the server is up.
        server.execute("CREATE DATABASE postgres")
        server.execute(f"COMMENT ON DATABASE {MADE} IS '{mark}'")


def copy(port: int) -> str:
    """Return how a new copy of the generated rows is reached."""
    say("copying the rows")
    with psycopg.connect(name_dsn(port, "template1"), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {COPY} TEMPLATE {MADE} STRATEGY FILE_COPY")
        server.execute("CHECKPOINT")
    return name_dsn(port, COPY)


@dataclass
class Starts:
    """A client that does what the starts of tasks do to the database, and how long each took."""

    dsn: str
    times: list[float] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Start tasks until the block ends."""
        self._is_over.clear()
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _work(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self._is_over.wait(EVERY_S):
                begun = time.perf_counter()
                self._start(connection)
                self.times.append(time.perf_counter() - begun)

    @staticmethod
    def _start(connection: psycopg.Connection[Any]) -> None:
        with connection.transaction():
            row = connection.execute(
                "SELECT t.id FROM task_instance t JOIN dag_run r USING (dag_id, run_id) JOIN dag d USING (dag_id)"
                " WHERE t.state = 'scheduled' AND NOT d.is_paused ORDER BY t.priority_weight DESC, r.logical_date"
                " LIMIT 1 FOR UPDATE OF t SKIP LOCKED"
            ).fetchone()
            assert row is not None
            connection.execute("UPDATE task_instance SET state = 'queued', queued_dttm = now() WHERE id = %s", row)
        connection.execute("UPDATE task_instance SET external_executor_id = gen_random_uuid() WHERE id = %s", row)
        connection.execute("UPDATE task_instance SET state = 'running', start_date = now() WHERE id = %s", row)
        connection.execute("UPDATE task_instance SET state = 'scheduled' WHERE id = %s", row)

    @property
    def p95_ms(self) -> float:
        """The 95th percentile, in milliseconds."""
        return statistics.quantiles(self.times, n=20)[-1] * 1000


def measure(dsn: str, server: psutil.Process, store: str) -> dict[str, Any]:
    """All figures, on a database that has the generated runs."""
    reached = agent.ArchivedDatabase(lambda: connect(dsn), dsn)
    with contextlib.closing(connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(SIZE, (list(TABLES),))
        table_bytes = int(cursor.fetchone()[0])
    load = os.getloadavg()[0]
    cut = datetime.now(UTC) - timedelta(days=30)
    quiet, resting, busy = Starts(dsn), Starts(dsn), Starts(dsn)
    say("starting tasks while nothing is archived, and while the archive works with rests, in turns")
    rested, rested_s = 0, 0.0
    for _ in range(TURNS):
        with quiet.run():
            time.sleep(TURN_S)
        with start_archiver(dsn, store, cut) as archiver, resting.run():
            archived, took_s = archiver()
            rested, rested_s = rested + archived, rested_s + took_s

    say("archiving")
    batches = 0

    def report(_: str) -> None:
        nonlocal batches
        batches += 1
        if batches % 25 == 0:
            say(f"{batches} batches in {time.monotonic() - begun:.0f} s")

    with busy.run():
        own, served = time.process_time(), count_server(server)
        begun = time.monotonic()
        totals = agent.archive(reached, store, cut, report=report)
        archive_s = time.monotonic() - begun
        own, served = time.process_time() - own, count_server(server) - served

    say(f"archived in {archive_s:.1f} s; restoring")
    begun = time.monotonic()
    back = restore.restore(
        reached,
        store,
        dag_id="dag_0000",
        since=datetime(2000, 1, 1, tzinfo=UTC),
        until=datetime(2100, 1, 1, tzinfo=UTC),
        now=datetime.now(UTC),
        hold=timedelta(days=1),
    )
    restore_s = time.monotonic() - begun
    begun = time.monotonic()
    query.query(store, "SELECT task_id, quantile_cont(duration, 0.95) FROM task_instance GROUP BY 1")
    query_s = time.monotonic() - begun

    say("counting the WAL of heartbeats")
    before = round(old_runs.count_heartbeat_wal(dsn, LIVE))
    with contextlib.closing(connect(dsn)) as connection:
        failed = [one for one in care.care(connection).done if one.error]
    after = round(old_runs.count_heartbeat_wal(dsn, LIVE))
    assert back.identical == back.runs == RUNS_PER_DAG - 1, back
    assert not failed, failed
    found = query.read_manifests(RunStore(store))
    million = 1_000_000 / totals.task_instances
    return {
        "archive_1m_s": round(archive_s * million, 1),
        "archive_1m_with_rests_s": round(rested_s * 1_000_000 / rested, 1),
        "pause": Archive().pause,
        "archive_cpu_1m_s": round((own + served) * million, 1),
        "archive_cpu_of_postgresql_1m_s": round(served * million, 1),
        "load": round(load, 1),
        "cpus": os.cpu_count(),
        "archived_task_instances": rested + totals.task_instances,
        "archived_with_rests": rested,
        "archived_rows": sum(one.rows for one in found),
        "archive_bytes_ratio": round(sum(one.bytes for one in found) / table_bytes, 4),
        "archive_bytes": sum(one.bytes for one in found),
        "table_bytes": table_bytes,
        "batches": len(found),
        "longest_transaction_s": totals.longest_transaction_s,
        "database_p95_ms": round(quiet.p95_ms, 1),
        "database_p95_while_archiving_ms": round(resting.p95_ms, 1),
        "database_p95_ratio": round(resting.p95_ms / quiet.p95_ms, 2),
        "database_p95_ratio_without_rests": round(busy.p95_ms / quiet.p95_ms, 2),
        "database_starts": [len(one.times) for one in (quiet, resting, busy)],
        "restore_4000_s": round(restore_s * 4000 / (back.runs * TASKS_PER_RUN), 2),
        "query_p95_s": round(query_s, 2),
        "wal_per_heartbeat_before": before,
        "wal_per_heartbeat_after": after,
        "wal_ratio": round(before / after, 1),
    }


@contextlib.contextmanager
def start_archiver(dsn: str, store: str, cut: datetime) -> Iterator[Callable[[], tuple[int, float]]]:
    """Yield what archives for TURN_S in a process of its own, and returns the number of task instances and the time."""
    words = ("-c", "import sys, data; data.rest(*sys.argv[1:])", dsn, store, cut.isoformat())
    with subprocess.Popen((sys.executable, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout
        child.stdout.readline()
        talk = child.stdin, child.stdout

        def archive() -> tuple[int, float]:
            talk[0].write("\n")
            talk[0].flush()
            found, took_s = talk[1].readline().split()
            return int(found), float(took_s)

        yield archive


def rest(dsn: str, store: str, cut: str) -> None:
    """Archive for TURN_S with the rests of the platform's own archiver, once a line comes."""
    reached = agent.ArchivedDatabase(lambda: connect(dsn), dsn)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    totals = agent.archive(reached, store, datetime.fromisoformat(cut), budget_s=TURN_S, pause=Archive().pause)
    print(totals.task_instances, time.monotonic() - begun, flush=True)


def count_server(server: psutil.Process) -> float:
    """Return the CPU seconds that a PostgreSQL server and all its processes have used."""
    return sum(map(count_cpu, family(server)))


def connect(dsn: str) -> Any:  # psycopg2 has no types
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


if __name__ == "__main__":
    main()
