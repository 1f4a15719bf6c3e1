"""Where supervisors hand over what tasks wrote: in front of the API of tasks (ADR 79).

An answer of 204 says that the records are in the database. Then the supervisor removes its file. It does so after 410
too: the records are of an attempt of another host, or of one that nobody knows any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field

from airfleet_provider.contract import task_records
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.task_records import RecordKind, TaskRecord
from airfleet_provider.execution_api.fast_path import read_body

log = logging.getLogger("airfleet")

SQL = Statements(__package__, "record_reports")

BODY_BYTES = task_records.MOST_FILE_BYTES + task_records.CUT_BYTES
_INSTANCE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILE = re.compile(r"[0-9a-f]{32}")
_SPOOL = re.compile(r"(\d{1,9}) (\d{1,9})")
# Requests that wait for the database at once. A supervisor that is answered 503 comes again.
MOST_WAITING = 50
# Rows of spans of one attempt that are kept, whatever number of processes and files it had.
MOST_SPANS = 2 * task_records.MOST_SPANS
# Events of one attempt that are kept. A task has its token, and could fill the database with them.
MOST_EVENTS, MOST_EVENT_BYTES = 1000, 8 << 20
# What the statement `add` reads of them.
_LIMITS = {"most_spans": MOST_SPANS, "most_events": MOST_EVENTS, "most_bytes": MOST_EVENT_BYTES}

ReadToken = Callable[[str], Awaitable[str]]


class ReportedSpan(BaseModel):
    """A span that a task wrote. What a task writes is checked again here: the file is the task's own."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    number: Annotated[int, Field(ge=1, le=1 << 30)]
    parent: Annotated[int, Field(ge=0, le=1 << 30)] = 0
    began: Annotated[float, Field(ge=0, le=4e9, allow_inf_nan=False)]
    took: Annotated[float, Field(ge=0, le=4e9, allow_inf_nan=False)]
    error: Annotated[str, Field(max_length=200)] = ""
    attributes: Annotated[dict[str, bool | int | float | Annotated[str, Field(max_length=500)]], Field(max_length=20)]

    def to_row(self, place: int) -> dict[str, Any]:
        """Return what the statement `add_spans` reads. PostgreSQL keeps not every text."""
        attributes = {_clean(key[:100]): _keep(value) for key, value in self.attributes.items()}
        return {
            "place": place,
            "number": self.number,
            "parent": self.parent,
            "name": _clean(self.name) or "?",
            "error": _clean(self.error),
            "began": self.began,
            "took": self.took,
            "attributes": attributes,
        }


def _keep(value: bool | float | str) -> bool | float | str:
    if isinstance(value, str):
        return _clean(value)
    return value if isinstance(value, bool) or abs(value) < 1e300 else str(value)


def _clean(text: str) -> str:
    """Return a text without NUL and without halves of characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@dataclass(slots=True)
class RecordStore:
    """Writes records, over one connection. A thread at a time uses it."""

    # Opens a connection of psycopg2 in autocommit mode.
    connect: Callable[[], Any]
    connection: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self, sender: str, instance: str, file: str, records: list[TaskRecord], spool: tuple[int, int] | None = None
    ) -> int:
        """Write the records of a file, each once however often it comes, and return the status of the answer.

        An attempt hands over its own records, and those of attempts that ran on its host: their supervisor may be dead.
        `spool` says how many files wait there besides, and for how many seconds the oldest.
        Raises whatever psycopg2 raises.
        """
        events = [
            {"place": one.place, "body": json.dumps(one.body)} for one in records if one.kind is RecordKind.OPENLINEAGE
        ]
        spans = [row for one in records if one.kind is RecordKind.SPAN and (row := _read_span(one))]
        cut = sum(one.kind is RecordKind.CUT for one in records)
        files, oldest_s = spool or (None, None)
        words: dict[str, Any] = {"instance": instance, "file": file, "sender": sender}
        with self._lock:
            try:
                if self.connection is None:
                    self.connection = self.connect()
                with self.connection.cursor() as cursor:
                    if sender != instance:
                        cursor.execute(SQL["is_neighbour"], words)
                        found = cursor.fetchone()
                        if found is None or not found[0]:
                            return 403 if found is None else 410
                    # One statement, so that a file is written whole or not at all.
                    given = {**words, "events": json.dumps(events), "spans": json.dumps(spans), "cut": cut}
                    given |= {"spool_files": files, "spool_oldest_s": oldest_s}
                    cursor.execute(SQL["add"], {**given, **_LIMITS})
            except Exception:
                connection, self.connection = self.connection, None
                if connection is not None:
                    connection.close()
                raise
        return 204


def _read_span(record: TaskRecord) -> Mapping[str, Any] | None:
    try:
        return ReportedSpan.model_validate(record.body).to_row(record.place)
    except ValueError:
        return None


class RecordReports:
    """An ASGI application in front of another: takes the records of attempts."""

    def __init__(self, app: Callable[..., Awaitable[None]], store: RecordStore, read_token: ReadToken) -> None:
        self._app = app
        self._store = store
        self._read_token = read_token
        self._thread = ThreadPoolExecutor(1, "records")
        self._waiting = 0
        self._said = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI has no types
        """Take records, or pass the request on."""
        is_report = scope["type"] == "http" and scope["path"] == task_records.REPORTED_AT
        if not is_report or scope["method"] != "PUT":
            await self._app(scope, receive, send)
            return
        status = await self._take(scope, receive)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, scope: Any, receive: Any) -> int:  # noqa: ANN401
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        length = headers.get(b"content-length", "")
        if not length.isdigit() or int(length) > BODY_BYTES:
            return 413
        kind, _, token = headers.get(b"authorization", "").partition(" ")
        try:
            sender = await self._read_token(token if kind.lower() == "bearer" else "")
        except Exception:
            return 403
        instance, file = headers.get(b"airfleet-instance", ""), headers.get(b"airfleet-file", "")
        if not _INSTANCE.fullmatch(instance) or not _FILE.fullmatch(file):
            return 422
        if self._waiting >= MOST_WAITING:
            return 503
        body, _ = await read_body(receive)
        self._waiting += 1
        try:
            told = _SPOOL.fullmatch(headers.get(b"airfleet-spool", ""))
            spool = (int(told[1]), int(told[2])) if told else None
            given = (sender, instance, file, list(task_records.decode((body or b"")[:BODY_BYTES])), spool)
            status = await asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._store.add(*given))
        except Exception as error:
            if (said := f"{type(error).__name__}: {error}") != self._said:  # once for each outage
                log.warning("Records of tasks wait for the database: %s", said)
            self._said = said
            # What the database refuses once, it refuses again. Anything else is worth another time.
            return 422 if str(getattr(error, "pgcode", None) or "").startswith(("22", "23")) else 503
        finally:
            self._waiting -= 1
        self._said = ""
        return status
