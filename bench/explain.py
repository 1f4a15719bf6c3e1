"""How long an explanation takes on a database with millions of old task instances, and a live load beside them.

PYTHONPATH=bench:tests/support python bench/explain.py                three million: into bench/results/observe.json
PYTHONPATH=bench:tests/support python bench/explain.py --tasks 50000 a quick look; nothing is kept

`explain_p95_s` is the 95th percentile of whole explanations, from a new connection to the finished answer: of Dags,
runs and tasks that wait for a full slot pool, for other tasks and for other runs, that run, and that have ended.
`overview_p95_s` is the same for what `airfleet top` shows. The keys with `cpu` count seconds of CPU, of the command's
side and of PostgreSQL: they say more than the wall clock if others use the cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

import old_runs
import shops
import support
from airfleet_provider.contract import overview
from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.explanation.explain import explain
from stock.history import without_indexes

TASKS_PER_RUN, DAGS = 10, 500
ROUNDS = 20
# Of the first Dag: a run that waits for a slot pool, one that waits for it; a busy Dag beside it.
# Copies the Dag d0, so that there are as many as in a large fleet.
DAGS_SQL = """
INSERT INTO dag SELECT (jsonb_populate_record(d, jsonb_build_object('dag_id', 'd' || n))).*
    FROM dag d, generate_series(1, {dags} - 1) n WHERE d.dag_id = 'd0';
INSERT INTO dag_version (id, version_number, dag_id, bundle_name, created_at, last_updated)
    SELECT gen_random_uuid(), 1, dag_id, 'old', now(), now() FROM dag WHERE dag_id <> 'd0';
INSERT INTO serialized_dag (id, dag_id, data, created_at, last_updated, dag_hash, dag_version_id)
    SELECT gen_random_uuid(), dag_id, '{{}}', now(), now(), md5(dag_id), id FROM dag_version WHERE dag_id <> 'd0';
INSERT INTO dag_run (dag_id, run_id, state, run_type, queued_at, logical_date, start_date, end_date, run_after,
    data_interval_start, data_interval_end, last_scheduling_decision, created_at, updated_at, log_template_id,
    clear_number, span_status, created_dag_version_id, conf)
SELECT v.dag_id, 'scheduled__' || to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS'), 'success', 'scheduled', t, t, t,
    t + interval '2 min', t, t, t, t, t, t, (SELECT max(id) FROM log_template), 0, 'ended', v.id, '{{}}'
FROM dag_version v, generate_series(1, {runs}) n, LATERAL (SELECT now() - make_interval(hours => {runs} + 2 - n)) s (t);
"""
INSTANCES = """
INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, start_date, end_date, duration, state, try_number,
    max_tries, hostname, unixname, pool, pool_slots, queue, priority_weight, operator, queued_dttm, scheduled_dttm,
    updated_at, last_heartbeat_at, executor_config, span_status, task_display_name, dag_version_id)
SELECT gen_random_uuid(), 'task_' || n, r.dag_id, r.run_id, -1, r.start_date, r.end_date, 3 + mod(n, 7), 'success', 1,
    0, 'w1', 'airflow', 'default_pool', 1, 'default', 1, 'PythonOperator', r.start_date, r.start_date, r.end_date,
    r.end_date, '\\x80047d942e', 'ended', 'task_' || n, r.created_dag_version_id
FROM dag_run r, generate_series(1, {tasks}) n
"""
LIVE = """
UPDATE dag SET max_active_runs = 2 WHERE dag_id = 'd0';
INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('slow', 4, false), ('default_pool', 5000, false)
    ON CONFLICT DO NOTHING;
INSERT INTO job (job_type, state, hostname, start_date, latest_heartbeat)
    VALUES ('SchedulerJob', 'running', 's1', now(), clock_timestamp() + interval '1 h');
UPDATE serialized_dag SET data = json_build_object('dag', json_build_object('dag_id', dag_id, 'tasks', (
    SELECT json_agg(json_build_object('__type', 'operator', '__var', json_build_object(
        'task_id', 'task_' || n, 'downstream_task_ids',
        CASE WHEN n < {tasks} THEN json_build_array('task_' || n + 1) ELSE json_build_array() END)))
    FROM generate_series(1, {tasks}) n))) WHERE dag_id IN ('d0', 'd1');
"""
RUN = """
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, queued_at, start_date, logical_date, log_template_id,
    clear_number, span_status, created_dag_version_id, conf, created_at, updated_at)
SELECT %(dag)s::text, %(run)s, %(state)s, 'scheduled', now(), now(), now(), now() + make_interval(secs => %(number)s),
    (SELECT max(id) FROM log_template), 0, 'not_started', (SELECT id FROM dag_version WHERE dag_id = %(dag)s::text),
    '{}', now(), now()
"""
TASK = """
INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, state, try_number, max_tries, hostname, pool,
    pool_slots, queue, priority_weight, start_date, queued_dttm, scheduled_dttm, last_heartbeat_at, updated_at,
    executor_config, span_status, dag_version_id)
SELECT gen_random_uuid(), %(task)s, %(dag)s::text, %(run)s, -1, %(state)s, 1, 0, 'w1', %(pool)s, 1, 'default', 1,
    now() - interval '5 min', now(), now(), now(), now(), '\\x80047d942e', 'not_started',
    (SELECT id FROM dag_version WHERE dag_id = %(dag)s::text)
"""
CASES: dict[str, tuple[str, str | None, str | None]] = {
    "Dag": ("d0", None, None),
    "Dag of the past": ("d9", None, None),
    "run that waits": ("d0", "live0", None),
    "run in the queue": ("d0", "live2", None),
    "latest run": ("d9", "latest", None),
    "task that waits for a slot pool": ("d0", "live0", "task_2"),
    "task that waits for a task": ("d0", "live0", "task_3"),
    "task that runs": ("d1", "live0", "task_1"),
    "task that succeeded": ("d9", "latest", "task_1"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3_000_000, help="old task instances")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airfleet-explain-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with shops.start_postgres(folder) as port:
            database = shops.migrate(folder, port)
            load(database, chosen.tasks)
            figures = measure(database.dsn)
    print(json.dumps(figures, indent=2))
    if chosen.tasks >= 3_000_000:
        support.write("observe", {**support.read("observe"), **figures})
    else:
        support.say("fewer than three million task instances: bench/results/observe.json stays as it is")


def load(database: shops.Database, tasks: int) -> None:
    """Make old runs of many Dags, and the live states that are explained."""
    begun = time.monotonic()
    runs = max(1, round(tasks / TASKS_PER_RUN / DAGS))
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'")
        connection.execute("SET session_replication_role = replica")  # the rows are consistent
        sizes = {"dags": DAGS, "runs": runs, "tasks": TASKS_PER_RUN}
        _execute(connection, old_runs.DAG.format(dag="d0"))
        _execute(connection, DAGS_SQL.format(**sizes))
        with without_indexes(connection, "task_instance"):
            _execute(connection, INSTANCES.format(**sizes))
        _execute(connection, LIVE.format(**sizes))
        _make_live(connection)
        connection.execute("VACUUM (ANALYZE) dag_run, task_instance, dag, dag_version, serialized_dag")
    support.say(f"{tasks:,} old task instances in {time.monotonic() - begun:.0f} s")


def _execute(connection: psycopg.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _make_live(connection: psycopg.Connection) -> None:
    for number, state in enumerate(("running", "running", "queued", "queued")):
        connection.execute(RUN, {"dag": "d0", "run": f"live{number}", "state": state, "number": number})
    words: dict[str, object]
    for number in range(150):
        connection.execute(RUN, {"dag": "d1", "run": f"live{number}", "state": "running", "number": number})
        for task in range(1, 3):
            words = {"dag": "d1", "run": f"live{number}", "task": f"task_{task}", "state": "running"}
            connection.execute(TASK, {**words, "pool": "slow" if number < 2 else "default_pool"})
    for run in ("live0", "live1"):
        for task in range(1, TASKS_PER_RUN + 1):
            states = {1: "success", 2: "scheduled"}
            words = {"dag": "d0", "run": run, "task": f"task_{task}", "state": states.get(task), "pool": "slow"}
            connection.execute(TASK, words)


def measure(dsn: str) -> dict[str, Any]:
    """Explain every case several times; the figures in seconds, and what each case was found to be."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    costs: dict[str, list[float]] = {name: [] for name in CASES}
    found: dict[str, str] = {}
    for _ in range(ROUNDS):
        for name, words in CASES.items():
            begun, used = time.perf_counter(), time.process_time()
            with connect(dsn, costs[name]) as query:
                explained = explain(reading.read(query, reading.resolve(query, *words), parallelism=5000))
            costs[name][-1] += time.process_time() - used
            times[name].append(time.perf_counter() - begun)
            found[name] = explained.causes[0].code.value if explained.causes else explained.state
    views = [_time(lambda: _look(dsn)) for _ in range(ROUNDS)]
    every = [one for seen in times.values() for one in seen]
    every_cost = [one for seen in costs.values() for one in seen]
    return {
        "explain_p95_s": round(quantile(every), 4),
        "explain_median_s": round(statistics.median(every), 4),
        "explain_cpu_p95_s": round(quantile(every_cost), 4),
        "explain_cpu_by_case_s": {name: round(statistics.median(seen), 4) for name, seen in costs.items()},
        "explain_by_case_p95_s": {name: round(quantile(seen), 4) for name, seen in times.items()},
        "explain_first_cause": found,
        "overview_p95_s": round(quantile(views), 4),
    }


def _look(dsn: str) -> None:
    with connect(dsn) as query:
        overview.to_json(overview.read(query))


def _time(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


@contextlib.contextmanager
def connect(dsn: str, costs: list[float] | None = None) -> Iterator[reading.Query]:
    """Yield what runs a statement on a new connection, as the command does. `costs` gets the CPU of its backend."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        yield lambda sql, words: connection.execute(sql, words).fetchall()
        used = psutil.Process(connection.info.backend_pid).cpu_times()
        if costs is not None:
            costs.append(used.user + used.system)


def quantile(seen: Sequence[float], share: float = 0.95) -> float:
    return statistics.quantiles(seen, n=100, method="inclusive")[round(share * 100) - 1]


if __name__ == "__main__":
    main()
