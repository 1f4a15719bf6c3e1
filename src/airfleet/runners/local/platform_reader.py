"""What a platform's database knows: the Dag files that do not load, and the live release.

`airfleet status` reads it, so nothing is imported here but the driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from airfleet.spec.secrets import Secret
from airfleet.workspace.state_folder import BrokenFile
from airfleet_provider.contract import release_list
from airfleet_provider.contract.release_list import Deployment

TIMEOUT_S = 5.0
# A line of a traceback that names a file of the project.
_PLACE = re.compile(r'File ".*?/((?:dags|include)/[^"]+)", line (\d+)')


class PlatformReader:
    """Reads what a platform's database knows. One connection stays open, so that a caller may read every second."""

    def __init__(self, database: Secret) -> None:
        self._database = database
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def list_broken_files(self) -> list[BrokenFile] | None:
        """Return the Dag files that do not load, or None if the database does not answer.

        After None, a caller reads nothing else: each read would wait for `TIMEOUT_S` again.
        """
        try:
            rows = self._query("SELECT filename AS file, stacktrace AS trace FROM import_error ORDER BY filename", {})
        except psycopg.Error:
            return None
        return [BrokenFile(row["file"], describe_failure(row["trace"])) for row in rows]

    def find_release(self, bundle: str) -> Deployment | None:
        """Return the deployment of the live release. None if no release is live, or the database does not answer."""
        try:
            return release_list.find_live(self._query, bundle)
        except psycopg.Error:
            return None

    def _query(self, statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        try:
            if self._connection is None:
                self._connection = connect(self._database)
            with self._connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(statement, values).fetchall()
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None


def describe_failure(trace: str) -> str:
    """Return the last line of a traceback, with the file and line of the project that led to it."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    places = _PLACE.findall(trace)
    where = f" ({places[-1][0]}:{places[-1][1]})" if places else ""
    return f"{lines[-1]}{where}" if lines else "no message"


def connect(database: Secret) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a session in autocommit mode."""
    return psycopg.connect(
        database.reveal(),
        connect_timeout=int(TIMEOUT_S),
        autocommit=True,
        prepare_threshold=None,  # a pooler before the server may give each query to another session
    )
