"""What a limit of a service holds: hundreds of tasks under so many starts a minute, on a real platform.

make bench-limits                                    500 tasks, 120 starts a minute: keys of bench/results/scale.json
make bench-limits ARGS="--tasks 60 --rate 60"        a quick look; nothing is kept of it
make bench-limits ARGS="--gate"                      only what a loop of the scheduler pays, in a database of its own

`limit_most_starts` and `limit_least_starts` are those of the fullest and the emptiest whole minute but the last one.
`limit_retries_burnt` counts the tries beyond the first of all tasks, and `limit_late_starts` the processes that started
in vain. `limit_turn_s` is how long the slowest of the few tasks of a second Dag waited, which has the same limit, while
hundreds of the first one waited. `bystander_beside_limit_s` is the longest time from ready to the end of a task that
needs no service. `limit_gate_ms` is the median time that the limits add to a loop of the scheduler while
`limit_waiting` tasks of `limit_dags` Dags wait under `limit_rules` limits; `limit_gate_idle_ms` while no start is due.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2

from scale import BYSTANDER, platform
from support import AIRFLEET, RESULTS, project, run, say, wait

BAR_TASKS = 500
FEW = 5
GATE_DAGS, GATE_EACH, GATE_RULES, GATE_LOOPS = 500, 10, 50, 40
FLEET = """
name: limits
parallelism: 8
limits:
  crm:
    dag: crm_.*
    starts_per_minute: {rate}
"""
CALLER = """
from datetime import timedelta

from airflow.sdk import dag, task


@dag(dag_id="{name}", schedule=None, max_active_tasks=1000)
def crm():
    @task(retries=3, retry_delay=timedelta(seconds=5))
    def call(number: int) -> int:
        return number

    call.expand(number=list(range({tasks})))


crm()
"""
COUNTS = """
SELECT count(*) FILTER (WHERE state = 'success'), count(*) FILTER (WHERE state IN ('failed', 'upstream_failed')),
    coalesce(sum(greatest(try_number, 1) - 1), 0)::int, count(*) FILTER (WHERE state IN ('queued', 'running'))
FROM task_instance WHERE dag_id LIKE 'crm_%' AND map_index >= 0
"""
STARTS = """
SELECT extract(epoch FROM start_date - min(start_date) OVER ())::float
FROM task_instance WHERE dag_id LIKE 'crm_%' AND map_index >= 0 AND start_date IS NOT NULL ORDER BY 1
"""
SLOWEST = """
SELECT coalesce(max(extract(epoch FROM start_date - scheduled_dttm)), 0)::float
FROM task_instance WHERE dag_id = 'crm_few' AND map_index >= 0
"""
BYSTANDERS = """
SELECT coalesce(max(extract(epoch FROM end_date - scheduled_dttm)), 0)::float
FROM task_instance WHERE dag_id = 'bystander' AND state = 'success'
"""
DAGS = """
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks, max_consecutive_failed_dag_runs,
    has_task_concurrency_limits, fail_fast, has_import_errors)
SELECT 'dag_' || n, false, false, false, 'b', '', false, true, '{}', 1000, 0, false, false, false
FROM generate_series(1, %s) n
"""
RUNS = """
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, logical_date, created_at, updated_at, clear_number,
    context_carrier, span_status)
SELECT 'dag_' || n, 'r', 'running', 'manual', now(), now(), now(), now(), 0, '{}', 'ended' FROM generate_series(1, %s) n
"""
TASKS = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, hostname, span_status, executor_config)
SELECT gen_random_uuid(), 'dag_' || n, 'r', 'load', m, 'scheduled', 1, 1, 'default_pool', 1, 'default', 1, 'w', 'ended',
    ''::bytea
FROM generate_series(1, %s) n, generate_series(1, %s) m
"""
POOL = "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('default_pool', 1000, false)"


def measure(tasks: int, rate: int) -> dict[str, Any]:
    """Return the figures for so many tasks under such a limit."""
    with project() as folder:
        (folder / "fleet.yaml").write_text(FLEET.format(rate=rate))
        for name, count in (("crm_many", tasks), ("crm_few", FEW)):
            (folder / "dags" / f"{name}.py").write_text(CALLER.format(name=name, tasks=count))
        (folder / "dags" / "bystander.py").write_text(BYSTANDER)
        with platform(folder) as connection:
            return watch(connection, folder, tasks + FEW, rate)


def watch(connection: Any, folder: Path, tasks: int, rate: int) -> dict[str, Any]:
    """Trigger the Dag with many tasks, then the one with few, and wait for the end."""

    def read(statement: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = connection.execute(statement).fetchone()
        return found

    wait(lambda: read("SELECT count(*) FROM dag WHERE NOT is_stale")[0] > 2, "the Dags")
    for name in ("bystander", "crm_many", "crm_few"):
        run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "unpause", name)
    run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "trigger", "crm_many")
    wait(lambda: len(connection.execute(STARTS).fetchall()) > rate // 10, "the first tasks")
    run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "trigger", "crm_few")
    most, said_at = 0, 0.0
    while (counts := read(COUNTS))[0] + counts[1] < tasks:
        most = max(most, counts[3])
        if time.monotonic() - said_at > 20:
            said_at = time.monotonic()
            say(f"{counts[0]} of {tasks} tasks are done")
            run(*AIRFLEET, "limit", "list", "--project", str(folder))
        time.sleep(0.5)
    starts = [one for (one,) in connection.execute(STARTS)]
    minutes = [sum(begin <= one < begin + 60 for one in starts) for begin in range(0, int(starts[-1]) - 59, 60)]
    fullest = max(sum(begin <= one < begin + 60 for one in starts) for begin in starts)
    return {
        "limit_tasks": tasks,
        "limit_rate": rate,
        "limit_most_starts": fullest,
        "limit_least_starts": min(minutes, default=None),
        "limit_retries_burnt": counts[2],
        "limit_failures": counts[1],
        "limit_late_starts": read("SELECT count(*) FROM task_reschedule")[0],
        "limit_most_in_slots": most,
        "limit_turn_s": round(read(SLOWEST)[0], 1),
        "bystander_beside_limit_s": round(read(BYSTANDERS)[0], 1),
    }


def time_gate(dags: int = GATE_DAGS, each: int = GATE_EACH, rules: int = GATE_RULES) -> dict[str, Any]:
    """Return what the limits cost a loop of the scheduler, in a PostgreSQL with Airflow's tables and no platform."""
    from airfleet_provider.breakers.limit_gate import LimitGate  # noqa: PLC0415 - it imports Airflow
    from airfleet_provider.contract.breaker_rules import BreakerRule  # noqa: PLC0415
    from airfleet_provider.contract.service_limits import ServiceLimit  # noqa: PLC0415
    from airflow_tables import serve  # noqa: PLC0415

    limits = [ServiceLimit(BreakerRule(f"s{one}", dag=rf"dag_\d*{one:02d}"), 6000) for one in range(rules)]
    with serve() as server:

        def connect() -> object:
            connection = psycopg2.connect(server.dsn)
            connection.autocommit = True
            return connection

        server.query("ALTER ROLE postgres SET session_replication_role = replica")
        for statement, values in ((POOL, ()), (DAGS, (dags,)), (RUNS, (dags,)), (TASKS, (dags, each))):
            server.query(statement, *values)
        server.query("ANALYZE")
        now = 0.0
        gate = LimitGate(limits, connect, lambda: now)
        gate.find_held()
        due, idle = [], []
        for _ in range(GATE_LOOPS):
            now += 2.0
            due.append(timed_ms(gate))
            idle.append(timed_ms(gate))
        assert gate.held
    return {
        "limit_gate_ms": round(statistics.median(due), 1),
        "limit_gate_idle_ms": round(statistics.median(idle), 1),
        "limit_waiting": dags * each,
        "limit_dags": dags,
        "limit_rules": rules,
        # Others may use the machine, so the figures go with its load.
        "limit_gate_load": round(os.getloadavg()[0], 1),
    }


def timed_ms(gate: Any) -> float:
    """Return how long a loop of the scheduler waits for the limits."""
    began = time.perf_counter()
    gate.find_held()
    return (time.perf_counter() - began) * 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=BAR_TASKS)
    parser.add_argument("--rate", type=int, default=120)
    parser.add_argument("--gate", action="store_true", help="Only time the gate.")
    parser.add_argument("--write", action="store_true", help="Keep the figures, also of a part or of fewer tasks.")
    wanted = parser.parse_args(arguments)
    figures = time_gate()
    if not wanted.gate:
        figures |= measure(wanted.tasks, wanted.rate)
        figures["limit_load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(figures, indent=2))
    if wanted.write or (not wanted.gate and wanted.tasks >= BAR_TASKS):
        path = RESULTS / "scale.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
