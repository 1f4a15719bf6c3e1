"""What a time line takes from Airflow's audit log, in a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
from psycopg.rows import dict_row

import servers
from airfleet_provider.contract.incident import reading

BEGIN = datetime(2026, 11, 29, 6, tzinfo=UTC)


def test_a_refused_try_on_the_fleet_pages_is_no_change() -> None:
    words = {"since": BEGIN, "until": BEGIN + timedelta(hours=1), "limit": 9}
    with servers.serve() as server, psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(
            "CREATE TABLE log (dttm timestamptz, dag_id text, run_id text, task_id text, event text, owner text)"
        )
        for event in ("airfleet_roll_back_refused", "airfleet_roll_back", "patch_dag"):
            connection.execute("INSERT INTO log (dttm, event, owner) VALUES (%s, %s, 'ann')", [BEGIN, event])
        found = connection.execute(reading.SQL["audit"], words).fetchall()
    assert {one["what"] for one in found} == {"airfleet_roll_back", "patch_dag"}
