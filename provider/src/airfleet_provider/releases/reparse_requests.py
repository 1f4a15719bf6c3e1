"""Requests to parse a Dag file again, which Airflow's UI and API write into a table for the Dag processor."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from airfleet_provider.access import outside_tasks
from airfleet_provider.access.known_lists import open_lists
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.compat.patches import dag_processor, listed_reads
from airfleet_provider.contract import release_schema
from airfleet_provider.database import run
from airfleet_provider.releases import retention

TELL = """
SELECT pg_notify(%(channel)s, 'reparse') WHERE EXISTS (SELECT FROM dag_priority_parsing_request)
"""
TIDY_EVERY_S = 3_600.0
log = logging.getLogger(__name__)
TAKE = "DELETE FROM dag_priority_parsing_request RETURNING bundle_name, relative_fileloc"


def tell() -> None:
    """Wake the releaser if there are requests."""
    with metadata_db.open_session() as session:
        run(session, TELL, channel=release_schema.CHANNEL)


def take() -> list[tuple[str, str]]:
    """Remove all requests from the table and return the bundle and file of each: the caller must parse them."""
    with metadata_db.open_session() as session:
        return [(row.bundle_name, row.relative_fileloc) for row in run(session, TAKE)]


@dataclass(slots=True)
class ReparseRequests:
    """What the Dag processor does besides callbacks, about once a second."""

    now: Callable[[], float] = time.monotonic
    tidies_next: float = 0.0

    def __call__(self) -> None:
        tell()
        if self.now() > self.tidies_next:
            self.tidies_next = self.now() + TIDY_EVERY_S
            try:
                remove_folders()
            except Exception:
                log.exception("cannot remove the folders of old releases now")


def remove_folders() -> None:
    """Remove the folders of collected releases from this host.

    The Dag processor does this because the releaser of this host may be a standby, which does nothing.
    """
    with metadata_db.open_session() as session:
        names = list(run(session, "SELECT bundle FROM airfleet.pointer").scalars())
    for name in names:
        retention.remove_folders(name)


def run_command(arguments: object) -> None:
    """`airflow airfleet dag-processor`. Its callbacks may use what a Dag of their file may use."""
    listed_reads.limit_callbacks(functools.partial(outside_tasks.check_file, open_lists()))
    dag_processor.run_dag_processor(arguments, ReparseRequests())
