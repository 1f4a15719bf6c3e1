"""The care for Airflow's metadata database, measured on a server of its own with generated runs.

make bench-data                          one million task instances: bench/results/data.json
make bench-data ARGS="--tasks 40000"     a quick look; nothing is kept of it

What is counted. `archive_1m_s`: `airfleet db archive run` without rests, from its first statement to its last, for a
million task instances with their runs, an XCom and two log rows each; another number of task instances is scaled to a
million. `archive_bytes_ratio`: bytes of the Parquet files, divided by the bytes of the tables before, indexes
included. `restore_4000_s`: one Dag's 4,000 task instances. `wal_ratio`: bytes of WAL of a heartbeat before
`airfleet db care`, divided by those after it. The server has PostgreSQL's settings, but for `fsync`, which is off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2

import old_runs
import shops
from airfleet_provider.database_care import agent as care
from airfleet_provider.run_archive import agent, query, restore
from airfleet_provider.run_archive.store import RunStore
from support import RESULTS, say

TASKS_PER_RUN, RUNS_PER_DAG = 10, 401
TABLES = ("dag_run", "task_instance", "xcom", "log")
SIZE = "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(%s::text[]) AS name"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="task instances to archive")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airfleet-data-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with shops.start_postgres(folder) as port:
            figures = measure(shops.migrate(folder, port), folder, chosen.tasks)
    print(json.dumps(figures, indent=2))
    if chosen.tasks >= 1_000_000:
        (RESULTS / "data.json").write_text(json.dumps(figures, indent=2) + "\n")
    else:
        say("fewer than a million task instances: bench/results/data.json stays as it is")


def measure(database: shops.Database, folder: Path, tasks: int) -> dict[str, Any]:
    """All figures, on a database that has Airflow's schema and nothing else."""
    reached = agent.Database(lambda: connect(database.dsn), database.dsn)
    say(f"making {tasks} task instances")
    dags = max(1, round(tasks / (TASKS_PER_RUN * (RUNS_PER_DAG - 1))))
    for number in range(dags):
        old_runs.make_dag(
            database.query, f"dag_{number:04}", runs=RUNS_PER_DAG, tasks=TASKS_PER_RUN, hours=120 * 24, rare=False
        )
    database.query("VACUUM ANALYZE")
    [[table_bytes]] = database.query(SIZE, list(TABLES))
    store = str(folder / "archive")

    say("archiving")
    begun = time.monotonic()
    totals = agent.archive(reached, store, datetime.now(UTC) - timedelta(days=30))
    archive_s = time.monotonic() - begun

    say("restoring")
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
    old_runs.make_dag(database.query, "heartbeats", runs=50, tasks=10, hours=100, rare=False)
    before = round(old_runs.count_heartbeat_wal(database.dsn, "heartbeats"))
    with contextlib.closing(connect(database.dsn)) as connection:
        failed = [one for one in care.care(connection).done if one.error]
    after = round(old_runs.count_heartbeat_wal(database.dsn, "heartbeats"))
    assert back.identical == back.runs == RUNS_PER_DAG - 1, back
    assert not failed, failed
    return {
        "archive_1m_s": round(archive_s * 1_000_000 / totals.task_instances, 1),
        "archive_s": round(archive_s, 1),
        "archived_task_instances": totals.task_instances,
        "archived_rows": totals.rows,
        "archive_bytes_ratio": round(totals.bytes / int(table_bytes), 4),
        "archive_bytes": totals.bytes,
        "table_bytes": int(table_bytes),
        "batches": len(query.read_manifests(RunStore(store))),
        "longest_transaction_s": totals.longest_transaction_s,
        "restore_4000_s": round(restore_s * 4000 / (back.runs * TASKS_PER_RUN), 2),
        "query_p95_s": round(query_s, 2),
        "wal_per_heartbeat_before": before,
        "wal_per_heartbeat_after": after,
        "wal_ratio": round(before / after, 1),
    }


def connect(dsn: str) -> Any:  # psycopg2 has no types
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


if __name__ == "__main__":
    main()
