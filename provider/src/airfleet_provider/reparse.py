"""Requests to parse a Dag file again, which Airflow's UI and API leave in a table for the Dag processor."""

from __future__ import annotations

from airfleet_provider import compat, schema
from airfleet_provider.compat import processor
from airfleet_provider.publish import run

TELL = """
SELECT pg_notify(%(channel)s, 'reparse') WHERE EXISTS (SELECT FROM dag_priority_parsing_request)
"""
TAKE = "DELETE FROM dag_priority_parsing_request RETURNING bundle_name, relative_fileloc"


def tell() -> None:
    """Wake the releaser if there are any."""
    with compat.open_session() as session:
        run(session, TELL, channel=schema.CHANNEL)


def take() -> list[tuple[str, str]]:
    """The bundle and file of each, which are the caller's to parse now."""
    with compat.open_session() as session:
        return [(row.bundle_name, row.relative_fileloc) for row in run(session, TAKE)]


def run_command(arguments: object) -> None:
    """`airflow airfleet dag-processor`."""
    processor.run_dag_processor(arguments, tell)
