"""Dags with a run of each, as rows of Airflow's own tables, for tests of what reads these tables."""

from __future__ import annotations

import servers

DAGS = """
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks, max_consecutive_failed_dag_runs,
    has_task_concurrency_limits, fail_fast, has_import_errors)
SELECT n, false, false, false, 'b', '', false, true, '{}', %s, 0, false, false, false FROM unnest(%s::text[]) n
"""
RUNS = """
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, logical_date, created_at, updated_at, clear_number,
    context_carrier, span_status)
SELECT n, 'r', 'running', 'manual', now(), now(), now(), now(), 0, '{}', 'ended' FROM unnest(%s::text[]) n
"""


def replace_dags(server: servers.Server, *dags: str, at_once: int = 16, and_empty: str = "") -> None:
    """Empty the tables of tasks, and those of `and_empty`; add Dags that run `at_once` tasks, and the run `r` of each.

    From now on the server takes rows without all their parents, so that a test writes only what is read.
    """
    server.query("ALTER ROLE postgres SET session_replication_role = replica")
    server.query(f"TRUNCATE {', '.join(filter(None, ('task_instance, dag_run, dag_tag, dag', and_empty)))} CASCADE")
    server.query(DAGS, at_once, list(dags))
    server.query(RUNS, list(dags))
