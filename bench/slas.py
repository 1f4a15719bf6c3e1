"""What a turn of the SLA engine costs, on a server of its own with generated history.

make bench-slas                          three million task instances: bench/results/slas.json
make bench-slas ARGS="--tasks 100000"    a quick look; nothing is kept of it

500 Dags with three rules each are watched, and 100 runs of ten tasks are at work. `turn_ms` is the median of a turn, of
which `cpu_ms` is the engine's own CPU and `database_ms` is what it waits for statements. PostgreSQL's CPU for them is
`database_cpu_ms`, which does not depend on what else the machine does; `turn_p95_ms` is the 95th
percentile. The first turn reads what later ones keep in memory: `first_turn_ms`; `restart_ms` is that of an engine that
begins while all promises are open. `core` is `cpu_ms` by the seconds between two turns. The server has PostgreSQL's
settings, but for `fsync`, which is off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import time as local_time
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

import old_runs
import shops
from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from airfleet_provider.slas.agent import SlaEngine
from airfleet_provider.slas.loop import EVERY_S
from stock import history
from support import RESULTS, say

TURNS, WARM_UP = 60, 130
ACTIVE = 100
RULES = (
    SlaRule("by", PromiseKind.FINISHED_BY, dag=".*", at=local_time(23, 59)),
    SlaRule("long", PromiseKind.NO_LONGER_THAN, dag=".*", limit_s=7200),
    SlaRule("alive", PromiseKind.MUST_RUN, dag=".*", limit_s=86_400),
)
# The history has the Dags and tasks of what Airflow has serialised.
BASE = """
UPDATE serialized_dag SET data = json_build_object('dag', json_build_object('dag_id', dag_id, 'tasks', (
    SELECT json_agg(json_build_object('__var', json_build_object('task_id', 'task_' || n)))
    FROM generate_series(1, 10) n
)))
"""
# The Dags of the history are stale and paused; here they are at work.
WAKE = """
UPDATE dag SET is_stale = false, is_paused = false, next_dagrun_create_after = now() + interval '1 hour';
UPDATE dag_version SET created_at = now() - interval '90 days'
"""
RUNS = """
INSERT INTO dag_run (dag_id, queued_at, logical_date, start_date, state, run_id, run_type, run_after, created_at,
    updated_at, clear_number, context_carrier, span_status, created_dag_version_id)
SELECT dag_id, now(), now(), now(), 'running', 'active', 'scheduled', now(), now(), now(), 0, '{}', 'ended',
    (SELECT min(id::text)::uuid FROM dag_version v WHERE v.dag_id = dag.dag_id)
FROM dag ORDER BY dag_id LIMIT %(count)s
"""
TASKS = """
INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, start_date, scheduled_dttm, state, try_number,
    max_tries, pool, pool_slots, queue, executor_config, span_status, task_display_name, dag_version_id)
SELECT gen_random_uuid(), 'step_' || n, dag_id, run_id, -1, CASE WHEN n = 0 THEN now() END,
    CASE WHEN n = 0 THEN now() END, CASE WHEN n = 0 THEN 'running' END, 1, 1, 'default_pool', 1, 'default',
    '\\x80047d942e'::bytea, 'active', 'step_' || n, created_dag_version_id
FROM dag_run, generate_series(0, 9) n WHERE run_id = 'active'
"""


@dataclass
class Meter:
    """The turns of an engine on a connection, with the seconds that its statements took."""

    connection: psycopg.Connection[dict[str, Any]]
    engine: SlaEngine
    spent: float = 0.0
    turns: list[tuple[float, float, float]] = field(default_factory=list)

    def execute(self, *words: Any) -> Any:
        begun = time.perf_counter()
        done = self.connection.execute(*words)
        self.spent += time.perf_counter() - begun
        return done

    def cursor(self) -> Any:
        return self.connection.cursor()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Any]:
        with self.connection.transaction():
            yield self

    def turn(self) -> None:
        self.spent = 0.0
        begun, cpu = time.perf_counter(), time.process_time()
        self.engine.evaluate(self.transaction, self.transaction)
        self.turns.append((time.perf_counter() - begun, time.process_time() - cpu, self.spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3_000_000, help="task instances of the history")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airfleet-slas-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with shops.start_postgres(folder) as port:
            figures = measure(folder, port, chosen.tasks)
    print(json.dumps(figures, indent=2))
    if chosen.tasks >= 3_000_000:
        (RESULTS / "slas.json").write_text(json.dumps(figures, indent=2) + "\n")
    else:
        say("fewer than three million task instances: bench/results/slas.json stays as it is")


def measure(folder: Path, port: int, tasks: int) -> dict[str, Any]:
    """Return all figures, on a database that has Airflow's schema and nothing else."""
    database = shops.migrate(folder, port)
    old_runs.make_dag(database.query, "base", runs=5, tasks=10, hours=5, rare=False)
    database.query(BASE)
    server = f"host=127.0.0.1 port={port} user=postgres"
    with psycopg.connect(f"{server} dbname=template1", autocommit=True) as connection:
        connection.execute("ALTER DATABASE postgres RENAME TO airflow")
    history.load(server, tasks)
    with psycopg.connect(f"{server} dbname=airflow", autocommit=True, row_factory=dict_row) as connection:
        connection.execute(WAKE)
        connection.execute(RUNS, {"count": ACTIVE})
        connection.execute(TASKS)
        connection.execute("VACUUM (ANALYZE)")
        return measure_turns(connection)


def measure_turns(connection: psycopg.Connection[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a new engine on a database."""
    meter = Meter(connection, SlaEngine(RULES))
    # Each turn, a few Dags learn from their past; then there is nothing left to learn.
    for _ in range(WARM_UP):
        meter.turn()
    backend = psutil.Process(connection.info.backend_pid)
    before = sum(backend.cpu_times()[:2])
    for _ in range(TURNS):
        meter.turn()
    used = sum(backend.cpu_times()[:2]) - before
    (found,) = connection.execute(
        "SELECT (SELECT count(*) FROM task_instance) AS tasks, (SELECT count(*) FROM dag_run) AS runs,"
        " (SELECT count(*) FROM airfleet.sla_instance WHERE ended_at IS NULL) AS open"
    ).fetchall()
    last = meter.turns[-TURNS:]
    restarted = Meter(connection, SlaEngine(RULES))
    restarted.turn()
    turn, cpu, waited = (1000 * statistics.median(one[place] for one in last) for place in range(3))
    return {
        "task_instances": found["tasks"],
        "dag_runs": found["runs"],
        "open_instances": found["open"],
        "turn_ms": round(turn, 1),
        "turn_p95_ms": round(1000 * sorted(one[0] for one in last)[int(0.95 * len(last))], 1),
        "database_ms": round(waited, 1),
        "database_cpu_ms": round(1000 * used / TURNS, 1),
        "cpu_ms": round(cpu, 1),
        "core": round(cpu / 1000 / EVERY_S, 4),
        "first_turn_ms": round(1000 * meter.turns[0][0], 1),
        "restart_ms": round(1000 * restarted.turns[0][0], 1),
    }


if __name__ == "__main__":
    main()
