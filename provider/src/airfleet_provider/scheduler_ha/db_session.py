"""A session with the database in which no statement waits longer than its limit, whatever server and network do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from psycopg2 import DatabaseError, OperationalError, extensions

from airfleet_provider.processes.polling import wait_readable, wait_writable

Row = Mapping[str, Any]

# All that may go wrong with a database that is away, slow, restarting, or has ended this session.
AwayError = DatabaseError
BACKEND = "SELECT pg_backend_pid() AS pid"
POOLED = (
    "this database is reached through a pool of transactions, where a lease cannot be held:"
    " give the schedulers the address of PostgreSQL itself, or a pool of sessions"
)


class PooledError(RuntimeError):
    """The connection leads to a pool of transactions, which would share the lease's session with others."""


class Session:
    """One connection of its own, in autocommit; each statement is answered within `answer_in`, or an `AwayError`."""

    def __init__(self, open_connection: Callable[[str], Any], name: str, *, answer_in: Callable[[], float]) -> None:
        with _in_time(answer_in()):
            self._connection = open_connection(name)
        self._answer_in = answer_in
        # A pooler cannot know the server process that it will give to a statement, and makes one up.
        own = self._connection.get_backend_pid()
        if self._read_backend() != own and self._is_shared(open_connection, name):
            self.close()
            raise PooledError(POOLED)

    def _is_shared(self, open_connection: Callable[[str], Any], name: str) -> bool:
        """Whether another connection is served by our own server process, as in pools of transactions."""
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
        """The rows of one statement."""
        with self._connection.cursor() as cursor, _in_time(self._answer_in()):
            cursor.execute(statement, parameters)
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def fileno(self) -> int:
        """What becomes readable when the server has something to say, or the connection ends."""
        return int(self._connection.fileno())

    def take_notices(self) -> bool:
        """Whether anything was announced since the last call; raises `AwayError` when the connection has ended."""
        self._connection.poll()
        heard = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return heard

    def close(self) -> None:
        """End the session, and with it every lock that it holds."""
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
