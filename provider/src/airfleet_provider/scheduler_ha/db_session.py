"""A database session in which no statement waits longer than its limit, even if server or network stop answering."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from psycopg2 import DatabaseError, OperationalError, extensions

from airfleet_provider.processes.polling import wait_readable, wait_writable

Row = Mapping[str, Any]

# The database is down, slow or restarting, or it has ended this session.
AwayError = DatabaseError
BACKEND = "SELECT pg_backend_pid() AS pid"
POOLED = (
    "the database connection goes through a pooler in transaction mode, which cannot hold a lease:"
    " give the schedulers the address of PostgreSQL itself, or of a pooler in session mode"
)


class PooledError(RuntimeError):
    """The connection leads to a pooler in transaction mode, which would share the lease's session among clients."""


class DbSession:
    """One connection in autocommit mode; each statement ends within `answer_in()` seconds.

    Raises:
        PooledError: the connection goes through a pooler in transaction mode.
        AwayError: the database did not answer in time, or the connection failed.
    """

    def __init__(self, open_connection: Callable[[str], Any], name: str, *, answer_in: Callable[[], float]) -> None:
        with _in_time(answer_in()):
            self._connection = open_connection(name)
        self._answer_in = answer_in
        # A pooler does not know in advance which server process will run a statement, so it reports an invented pid.
        own = self._connection.get_backend_pid()
        if self._read_backend() != own and self._is_shared(open_connection, name):
            self.close()
            raise PooledError(POOLED)

    def _is_shared(self, open_connection: Callable[[str], Any], name: str) -> bool:
        """Return whether our server process also serves another connection, as in transaction mode."""
        with _in_time(self._answer_in()):
            other = open_connection(name)
        try:
            with other.cursor() as cursor, _in_time(self._answer_in()):
                cursor.execute(BACKEND)
                return bool(cursor.fetchone()[0] == self._read_backend())
        finally:
            other.close()

    def _read_backend(self) -> int:
        return int(self.run(BACKEND)[0]["pid"])

    def run(self, statement: str, **parameters: object) -> list[Row]:
        """Return the rows of one statement.

        Raises:
            AwayError: the database did not answer in time, or the statement failed.
        """
        with self._connection.cursor() as cursor, _in_time(self._answer_in()):
            cursor.execute(statement, parameters or None)  # without parameters a percent sign is one
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the server sends a notification or the connection ends."""
        return int(self._connection.fileno())

    def take_notices(self) -> bool:
        """Return whether a notification arrived since the last call.

        Raises:
            AwayError: the connection has ended.
        """
        self._connection.poll()
        heard = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return heard

    def close(self) -> None:
        """End the session; the server then releases its locks."""
        with suppress(DatabaseError):
            self._connection.close()


@contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds

    def answer(connection: Any) -> None:  # noqa: ANN401 - a psycopg2 connection, which has no types
        while (state := connection.poll()) != extensions.POLL_OK:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise OperationalError(f"no answer within {seconds:g} s")
            wait = wait_readable if state == extensions.POLL_READ else wait_writable
            wait([connection], remaining)

    extensions.set_wait_callback(answer)
    try:
        yield
    finally:
        extensions.set_wait_callback(None)
