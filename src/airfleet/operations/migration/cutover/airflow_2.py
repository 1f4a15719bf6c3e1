"""The side of a cut-over that Airflow 2 runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import dict_row

from airfleet.errors import AirfleetError
from airfleet.operations.migration.cutover.platform import PlatformDatabase, Queries
from airfleet.operations.migration.metadata import find_postgresql
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "airflow_2")
CONNECT_S = 10


@contextmanager
def open_platform(url: str) -> Iterator[PlatformDatabase]:
    """Yield the platform of Airflow 2 over its metadata database, with a login that may write there.

    Raises:
        UsageError: The URL is not one of PostgreSQL.
        AirfleetError: The database does not answer, or is not one of Airflow 2.10 or 2.11.
    """
    whole = find_postgresql(url)
    try:
        with psycopg.connect(whole, connect_timeout=CONNECT_S, autocommit=True, row_factory=dict_row) as connection:
            columns = connection.execute(
                "SELECT 1 FROM information_schema.columns WHERE table_name = 'dag_run' AND column_name = ANY(%s)"
                " AND table_schema = ANY(current_schemas(false))",
                (["execution_date", "clear_number"],),
            ).fetchall()
            if len(columns) != 2:
                hint = "upgrade the old platform to 2.11 first, or name its own database"
                raise AirfleetError("this is no metadata database of Airflow 2.10 or 2.11", hint=hint)
            yield PlatformDatabase(connection, build_queries(), "Airflow 2")
    except psycopg.OperationalError as error:
        raise AirfleetError(f"the old database does not answer: {str(error).splitlines()[0]}") from None


def build_queries() -> Queries:
    """Return the statements. The file is read when the first of them is wanted."""
    return Queries(
        read_dag=SQL["read_dag"],
        read_dependencies=SQL["read_dependencies"],
        read_last=SQL["read_last"],
        read_since=SQL["read_since"],
        pause=SQL["pause"],
        hold=SQL["hold"],
        seed_run=SQL["seed_run"],
        seed_next=SQL["seed_next"],
    )
