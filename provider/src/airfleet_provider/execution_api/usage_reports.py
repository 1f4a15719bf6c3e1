"""Where supervisors report what their tasks used: in front of the API of tasks (ADR 72).

A report is answered at once. It is written with the others of the same second, in one statement by one thread. So
neither a task nor the database waits for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field

from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.task_usage import KEPT_DAYS, REPORTED_AT
from airfleet_provider.execution_api.fast_path import read_body

log = logging.getLogger("airfleet")

SQL = Statements(__package__, "usage_reports")

BODY_BYTES = 2000
FLUSH_S = 1.0
# While the database is away, so many attempts wait in memory. Later ones are dropped, and the log says how many.
MOST_PENDING = 20_000
PRUNE_EVERY_S = 3600.0
MOST_PRUNED = 50_000
# Sizes are stored as integers of 32 bits, in KiB: 2 TiB is the most.
MOST_KIB = (1 << 31) - 1
MOST_COUNT = 30_000
# Times are kept to the microsecond. A smaller one is none, and below 1e-45 the database would refuse it as a `real`.
DIGITS = 6
# The codes of PostgreSQL's refusals of values begin so. It would refuse them again.
REFUSALS = ("22", "23")
# When the process stops, it waits so long for the last write.
LAST_WRITE_S = 5.0

Bytes = Annotated[int, Field(ge=0, le=1 << 62)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
# Returns the id of the task instance of a valid token; raises for any other.
ReadToken = Callable[[str], Awaitable[str]]


class UsageReport(BaseModel):
    """What a supervisor sends: `TaskUsage`, and what it knows itself."""

    wall_s: Seconds
    exit_code: Annotated[int, Field(ge=-255, le=255)]
    cpu_s: Seconds | None = None
    memory: Bytes | None = None
    memory_limit: Bytes | None = None
    read: Bytes | None = None
    written: Bytes | None = None
    kills: Annotated[int, Field(ge=0, le=MOST_COUNT)] = 0
    is_group: bool = False

    def to_row(self, instance: str) -> dict[str, Any]:
        """Return the row of the table for the attempt of this task instance."""
        return {
            "instance": instance,
            "wall_s": round(self.wall_s, DIGITS),
            "cpu_s": None if self.cpu_s is None else round(self.cpu_s, DIGITS),
            "memory_kib": _to_kib(self.memory),
            "limit_kib": _to_kib(self.memory_limit),
            "read_kib": _to_kib(self.read),
            "written_kib": _to_kib(self.written),
            "exit_code": self.exit_code,
            "kills": self.kills,
            "parts": 1,
            "is_group": self.is_group,
        }


def _to_kib(size: int | None) -> int | None:
    return None if size is None else min(-(-size >> 10), MOST_KIB)


@dataclass(slots=True)
class UsageStore:
    """Rows that wait for the database, at most one of each attempt. All methods may be called by any thread."""

    # Opens a connection of psycopg2 in autocommit mode.
    connect: Callable[[], Any]
    clock: Callable[[], float] = time.monotonic
    pending: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: int = 0
    is_failing: bool = False
    connection: Any = None
    # Each API host removes old rows. The first time comes an hour after the start.
    pruned_at: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.pruned_at = self.clock()

    def add(self, instance: str, report: UsageReport) -> bool:
        """Keep a report for the next write. Return False if too many attempts wait already."""
        row = report.to_row(instance)
        with self._lock:
            before = self.pending.get(instance)
            if before is None and len(self.pending) >= MOST_PENDING:
                self.dropped += 1
                return False
            self.pending[instance] = merge(before, row) if before else row
        return True

    def write(self) -> None:
        """Write what waits. If the database does not answer, it waits on; an error is logged and not raised.

        If the connection breaks while rows are written, nobody knows whether they are. Written twice, the usage of an
        attempt would be doubled, so these rows are given up. So are rows with a value that the database refuses, as
        they would keep back all that come after them.
        """
        with self._writing:
            with self._lock:
                rows, self.pending, dropped, self.dropped = self.pending, {}, self.dropped, 0
            if dropped:
                log.warning(
                    "The usage of %d attempts is not recorded: too many waited, or the database broke off or refused",
                    dropped,
                )
            try:
                if rows:
                    # In the order of the key, so that two hosts that write the same rows never wait for each other.
                    ordered = [rows[key] for key in sorted(rows)]
                    self._execute(SQL["add"], {"rows": json.dumps(ordered), "most": MOST_KIB, "most_count": MOST_COUNT})
                    rows = {}  # they are written, whatever becomes of the rest
                if self.clock() - self.pruned_at >= PRUNE_EVERY_S:
                    self.pruned_at = self.clock()
                    self._execute(SQL["prune"], {"days": KEPT_DAYS, "most": MOST_PRUNED})
                self.is_failing = False
            except Exception as error:
                if not self.is_failing:  # one line for each outage
                    log.warning("The usage of attempts waits for the database: %s: %s", type(error).__name__, error)
                self.is_failing = True
                # An error with a code is the server's own: nothing was written. Without a connection, neither.
                code = getattr(error, "pgcode", None) or ""
                is_worth_it = self.connection is None or (bool(code) and not code.startswith(REFUSALS))
                self._hang_up()
                with self._lock:
                    if not is_worth_it:
                        self.dropped += len(rows)
                        return
                    for key, row in self.pending.items():
                        rows[key] = merge(rows[key], row) if key in rows else row
                    self.pending = rows

    def _execute(self, statement: str, words: Mapping[str, Any]) -> None:
        if self.connection is None:
            self.connection = self.connect()
        with self.connection.cursor() as cursor:
            cursor.execute(statement, words)

    def _hang_up(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an attempt with two processes, one after the other, as the statement `add` would write it."""

    def add(name: str, most: float) -> float | None:
        known = [row[name] for row in (one, other) if row[name] is not None]
        return min(sum(known), most) if known else None

    peaks = [row["memory_kib"] for row in (one, other) if row["memory_kib"] is not None]
    return {
        **other,
        **{name: add(name, 1e12) for name in ("wall_s", "cpu_s")},
        **{name: add(name, MOST_KIB) for name in ("read_kib", "written_kib")},
        **{name: add(name, MOST_COUNT) for name in ("kills", "parts")},
        "memory_kib": max(peaks, default=None),
        "is_group": one["is_group"] or other["is_group"],
    }


class UsageReports:
    """An ASGI application in front of another: takes the reports of supervisors."""

    def __init__(self, app: Callable[..., Awaitable[None]], store: UsageStore, read_token: ReadToken) -> None:
        self._app = app
        self._store = store
        self._read_token = read_token
        self._thread = ThreadPoolExecutor(1, "usage")
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI has no types
        """Take a report, or pass the request on."""
        if scope["type"] == "lifespan":
            await self._app(scope, self._write_before_the_end(receive), send)
        elif scope["type"] == "http" and scope["method"] == "PUT" and scope["path"] == REPORTED_AT:
            status = await self._take(scope, receive)
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send)

    async def _take(self, scope: Any, receive: Any) -> int:  # noqa: ANN401
        headers = dict(scope["headers"])
        if not headers.get(b"content-length", b"").isdigit() or int(headers[b"content-length"]) > BODY_BYTES:
            return 413
        body, _ = await read_body(receive)
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        try:
            instance = await self._read_token(token if kind.lower() == "bearer" else "")
        except Exception:
            return 403
        try:
            report = UsageReport.model_validate_json(body or b"")
        except ValueError:
            return 422
        if not self._store.add(instance, report):
            return 503
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._begin_writing)
        return 204

    def _begin_writing(self) -> None:
        self._timer = None
        self._thread.submit(self._store.write)

    def _write_before_the_end(self, receive: Any) -> Callable[[], Awaitable[Any]]:  # noqa: ANN401
        async def hear() -> Any:  # noqa: ANN401
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                last = asyncio.get_running_loop().run_in_executor(self._thread, self._store.write)
                await asyncio.wait([last], timeout=LAST_WRITE_S)
            return message

        return hear
