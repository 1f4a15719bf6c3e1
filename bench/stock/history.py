"""Make old runs and task instances, as after months of production: 500 Dags whose runs succeeded some time ago.

The measured Dags are among the 500. The files of the others no longer exist.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from airfleet_provider.contract.statements import Statements
from stock.crew import say, wait

SQL = Statements(__package__, "history")

DAGS = 500


def load(server_dsn: str, count: int) -> None:
    """Add about this number of old task instances to the database `airflow`, with their runs."""
    begun = time.monotonic()
    with psycopg.connect(server_dsn, dbname="airflow", autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'")
        connection.execute(
            "SET session_replication_role = replica"
        )  # the rows are consistent, so the constraints need no check
        cursor = psycopg.ClientCursor(connection)
        cursor.execute(SQL["plan"], {"dags": DAGS, "instances": count})
        with without_indexes(connection, "task_instance"):
            connection.execute(SQL["runs"])
            made = connection.execute(SQL["instances"]).rowcount
        connection.execute("VACUUM (ANALYZE) dag_run, task_instance, dag, dag_version")
        # Old rows were written long ago: nothing may still work on them while tasks are measured.
        connection.execute("CHECKPOINT")
        wait(lambda: not connection.execute(SQL["vacuums"]).fetchall(), "the end of the automatic vacuum")
        if connection.execute("SELECT FROM pg_tables WHERE tablename = 'metric_reader'").fetchall():
            wait(lambda: not connection.execute(SQL["uncounted"]).fetchall(), "airfleet's exporter to count the runs")
    say(f"  {made:,} old task instances in {time.monotonic() - begun:.0f} s")


@contextmanager
def without_indexes(connection: psycopg.Connection, table: str) -> Iterator[None]:
    """Drop the table's indexes, and build them at the end. Indexes of constraints are kept."""
    rows = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s"
        " AND indexname NOT IN (SELECT conname FROM pg_constraint)",
        (table,),
    ).fetchall()
    for name, _ in rows:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    for _, definition in rows:
        connection.execute(definition)
