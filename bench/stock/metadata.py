"""Read runs and tasks from the metadata database, and the statistics of PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from stock.figures import Instance, Run, list_upstream

INSTANCES: LiteralString = """
    SELECT dag_id, run_id, task_id, state, extract(epoch FROM scheduled_dttm)::float8,
           extract(epoch FROM queued_dttm)::float8, extract(epoch FROM start_date)::float8,
           extract(epoch FROM end_date)::float8
    FROM task_instance WHERE dag_id = ANY(%(dags)s) AND (run_id = ANY(%(runs)s) OR %(runs)s IS NULL)
"""
RUNS: LiteralString = """
    SELECT dag_id, run_id, state, extract(epoch FROM queued_at)::float8, extract(epoch FROM end_date)::float8
    FROM dag_run WHERE dag_id = ANY(%(dags)s) AND (run_id = ANY(%(runs)s) OR %(runs)s IS NULL)
"""
EDGES: LiteralString = """
    SELECT DISTINCT ON (s.dag_id) s.dag_id, s.data FROM serialized_dag s
    WHERE s.dag_id = ANY(%(dags)s) ORDER BY s.dag_id, s.last_updated DESC
"""


@dataclass(frozen=True)
class Traffic:
    """The sessions and transactions since the start of the statistics, without PostgreSQL's own databases."""

    connections: int
    transactions: int


class Metadata:
    """One connection to Airflow's database, and one to the database `postgres` for statistics."""

    def __init__(self, dsn: str, server_dsn: str) -> None:
        self._dsn = dsn
        self._own: psycopg.Connection | None = None
        self.server_dsn = server_dsn
        self.queries = 0

    def ask(self, sql: LiteralString, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Each call is one transaction. `queries` counts them, to subtract them later."""
        if self._own is None:
            self._own = psycopg.connect(self._dsn, autocommit=True, connect_timeout=10)
        self.queries += 1
        return self._own.execute(sql, parameters).fetchall()

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def read_traffic(self) -> Traffic:
        """Return the traffic. The query runs in the database `postgres`, so that it does not count."""
        with psycopg.connect(self.server_dsn, autocommit=True, connect_timeout=10) as connection:
            row = connection.execute(
                "SELECT sum(sessions), sum(xact_commit + xact_rollback) FROM pg_stat_database"
                " WHERE datname NOT IN ('postgres', 'template0', 'template1')"
            ).fetchone()
        assert row is not None
        return Traffic(int(row[0] or 0), int(row[1] or 0) - self.queries)

    def count_unfinished(self, dags: Collection[str], runs: Collection[str] | None) -> int:
        rows = self.ask(
            "SELECT count(*) FROM dag_run WHERE dag_id = ANY(%(dags)s) AND state IN ('queued', 'running')"
            " AND (run_id = ANY(%(runs)s) OR %(runs)s IS NULL)",
            {"dags": list(dags), "runs": _list(runs)},
        )
        return int(rows[0][0])

    def count_runs(self, dag: str, state: str) -> int:
        rows = self.ask(
            "SELECT count(*) FROM dag_run WHERE dag_id = %(dag)s AND state = %(state)s", {"dag": dag, "state": state}
        )
        return int(rows[0][0])

    def list_serialised(self) -> set[str]:
        """Return the Dags that can be triggered."""
        return {row[0] for row in self.ask("SELECT DISTINCT dag_id FROM serialized_dag")}

    def read_instances(self, dags: Collection[str], runs: Collection[str] | None) -> list[Instance]:
        return [Instance(*row) for row in self.ask(INSTANCES, {"dags": list(dags), "runs": _list(runs)})]

    def read_runs(self, dags: Collection[str], runs: Collection[str] | None) -> list[Run]:
        return [Run(*row) for row in self.ask(RUNS, {"dags": list(dags), "runs": _list(runs)})]

    def read_upstream(self, dags: Collection[str]) -> dict[str, dict[str, set[str]]]:
        """Return the tasks directly before each task, by Dag and task."""
        found = {}
        for dag, data in self.ask(EDGES, {"dags": list(dags)}):
            tasks = [task.get("__var", task) for task in data["dag"]["tasks"]]
            found[dag] = list_upstream({task["task_id"]: task.get("downstream_task_ids", ()) for task in tasks})
        return found


def _list(values: Collection[str] | None) -> list[str] | None:
    return None if values is None else list(values)
