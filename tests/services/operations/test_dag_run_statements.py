"""The statements of `airfleet run` fit Airflow's own tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

import servers
from airfleet.operations import dag_runs
from airflow_tables import serve

NOW = datetime.now(UTC).replace(microsecond=0)
RUN = """
INSERT INTO dag_run (id, dag_id, run_id, state, run_type, run_after, created_at, queued_at, start_date, updated_at,
    clear_number, span_status, log_template_id)
VALUES (7, 'sales', 'r', 'running', 'manual', %(at)s, %(at)s, %(at)s, %(at)s, %(at)s, 0, '', 1)
"""
TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, start_date, end_date, hostname, operator, span_status, executor_config)
VALUES (%(id)s, 'sales', 'r', 'load', %(index)s, %(state)s, 2, 1, 'crm', 1, 'default', 1, %(at)s, %(end)s, '', '', '',
    ''::bytea)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with serve() as one:
        one.query("ALTER ROLE postgres SET session_replication_role = replica")  # rows without all their parents
        yield one


def test_a_run_is_read_with_its_tasks_those_that_ended_first(server: servers.Server) -> None:
    with psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row) as connection:

        def query(sql: LiteralString, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
            return connection.execute(sql, parameters).fetchall()

        assert dag_runs.read(query, "sales", "r") is None
        connection.execute(RUN, {"at": NOW})
        end = NOW + timedelta(seconds=4)
        for index, state, ended in ((0, None, None), (1, "failed", end)):
            values = {"id": str(UUID(int=index + 1)), "index": index, "state": state, "at": NOW, "end": ended}
            connection.execute(TASK, values)
        run = dag_runs.read(query, "sales", "r")
        assert run
        assert (run.state, run.seconds) == ("running", None)
        assert [(task.name, task.state, task.try_number, task.seconds) for task in run.tasks] == [
            ("load[1]", "failed", 2, 4.0),
            ("load[0]", "", 2, None),
        ]
        assert query(dag_runs.SQL["dag"], {"dag": "sales"}) == []
