"""The last runs of a Dag in a metadata database of Airflow 2. It is only read, and no code of it runs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from airfleet.errors import AirfleetError
from airfleet.operations.migration.metadata import CONNECT_S, STATEMENT_MS, find_postgresql, find_tables
from airfleet.operations.migration.run_conf import PlainUnpickler, is_plain
from airfleet.operations.migration.side_by_side.outcomes import FormerRun, collect
from airfleet.operations.migration.text import make_printable
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "history")
# What the statements read.
COLUMNS = {
    "dag_run": {"dag_id", "run_id", "run_type", "state", "execution_date", "data_interval_start", "data_interval_end"}
    | {"conf"},
    "task_instance": {"dag_id", "run_id", "task_id", "map_index", "state"},
    "xcom": {"dag_id", "run_id", "task_id", "map_index", "key", "value"},
}
LARGEST_XCOM = 1 << 20


def read_runs(url: str, dags: Sequence[str], number: int) -> tuple[list[FormerRun], list[str]]:
    """Return the last successful runs of each Dag, the oldest first, and a sentence for each that is left out.

    Raises:
        UsageError: The URL is not one of PostgreSQL.
        AirfleetError: The database cannot be read, or is not one of Airflow 2.
    """
    source = find_postgresql(url)
    # A policy of rows would call functions of the old database with the rights of the login.
    options = f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_MS} -c row_security=off"
    runs: list[FormerRun] = []
    left_out: list[str] = []
    try:
        with psycopg.connect(source, connect_timeout=CONNECT_S, options=options) as connection:
            schema, columns = find_tables(connection, list(COLUMNS))
            if any(not wanted <= columns.get(table, set()) for table, wanted in COLUMNS.items()):
                hint = "upgrade the old platform to 2.11 first, or name its own database"
                raise AirfleetError("this is no metadata database of Airflow 2.10 or 2.11", hint=hint)
            for dag in dags:
                found = _read_dag(connection, schema, dag, number, left_out)
                if not found:
                    left_out.append(f"{make_printable(dag)}: no successful run in the old database")
                runs += found
    except psycopg.Error as error:
        text = make_printable((str(error).strip().splitlines() or ["it says nothing"])[0])
        raise AirfleetError(f"the database cannot be read: {text}") from None
    return runs, left_out


def _read_dag(
    connection: psycopg.Connection, schema: str, dag: str, number: int, left_out: list[str]
) -> list[FormerRun]:
    def read(statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        return connection.execute(sql.SQL(statement).format(schema=sql.Identifier(schema)), values).fetchall()

    runs = []
    for run_id, logical_date, begin, end, conf in reversed(read(SQL["runs"], dag, number)):
        if conf is not None and not is_plain(conf):
            left_out.append(make_printable(f"{dag} {run_id}: its conf is more than text, numbers, lists and mappings"))
            continue
        tasks = {(task, index): state for task, index, state in read(SQL["tasks"], dag, run_id)}
        xcoms = {(task, index, key): value for task, index, key, value in read(SQL["xcoms"], LARGEST_XCOM, dag, run_id)}
        runs.append(
            FormerRun(
                dag_id=dag,
                run_id=run_id,
                logical_date=logical_date,
                interval=(begin, end) if begin and end else None,
                conf={} if conf is None else PlainUnpickler(io.BytesIO(conf)).load(),
                outcome=collect(tasks, xcoms),
            )
        )
    return runs
