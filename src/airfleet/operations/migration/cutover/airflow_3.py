"""The side of a cut-over that airfleet runs."""

from __future__ import annotations

from airfleet.operations.migration.cutover.platform import PlatformDatabase, Queries, Rows
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "airflow_3")


def open_platform(connection: Rows) -> PlatformDatabase:
    """Return the platform of airfleet over its metadata database."""
    return PlatformDatabase(connection, build_queries(), "airfleet")


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
