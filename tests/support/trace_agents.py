"""The loop that sends traces, its database, and a collector that can be told what to answer."""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract.tracing_policy import TracingPolicy
from airfleet_provider.traces import loop
from airfleet_provider.traces.collector import Collector
from airfleet_provider.traces.loop import TraceLoop

# The columns of Airflow's tables that the statements read.
TABLES = """
CREATE TABLE dag_run (id serial PRIMARY KEY, dag_id text, run_id text, state text, run_after timestamptz DEFAULT now(),
    created_at timestamptz DEFAULT now(), queued_at timestamptz DEFAULT now(), start_date timestamptz DEFAULT now(),
    end_date timestamptz, updated_at timestamptz DEFAULT now(), bundle_version text, created_dag_version_id uuid,
    run_type text DEFAULT 'manual', clear_number int DEFAULT 0, UNIQUE (dag_id, run_id));
CREATE TABLE task_instance (id uuid PRIMARY KEY, dag_id text, run_id text, task_id text, map_index int DEFAULT -1,
    try_number int, state text, scheduled_dttm timestamptz, queued_dttm timestamptz, start_date timestamptz,
    end_date timestamptz, hostname text, queue text, pool text, operator text, custom_operator_name text);
CREATE TABLE task_instance_history (LIKE task_instance);
ALTER TABLE task_instance_history RENAME id TO task_instance_id;
CREATE TABLE task_reschedule (id serial, ti_id uuid, start_date timestamptz, end_date timestamptz,
    reschedule_date timestamptz);
CREATE TABLE log (id serial PRIMARY KEY, dttm timestamptz DEFAULT now(), event text, dag_id text, task_id text,
    run_id text, map_index int, try_number int);
CREATE TABLE dag_version (id uuid, dag_id text, version_number int, bundle_version text);
CREATE TABLE serialized_dag (dag_version_id uuid, dag_id text, data jsonb, data_compressed bytea)
"""
TASKS = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, try_number, state, scheduled_dttm, queued_dttm,
    start_date, end_date, hostname, queue, pool)
SELECT overlay(gen_random_uuid()::text PLACING %s FROM 1)::uuid, dag_id, run_id, 'load', n, 1, 'success',
    queued_at, end_date - interval '3 us', end_date - interval '2 us', end_date - interval '1 us',
    'worker-1', 'default', 'default_pool'
FROM dag_run, generate_series(0, %s - 1) AS n WHERE dag_run.id = %s
"""


class TraceTables:
    """The tables, over one connection: a test that dies at each line asks them a thousand times."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._connection = psycopg.connect(dsn, autocommit=True)

    def query(self, sql: str, *words: object) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(sql, words or None)
        return cursor.fetchall() if cursor.description else []


class CollectorServer(ThreadingHTTPServer):
    """A collector that can be told what to answer. It keeps the spans of requests that it answered with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.spans: Counter[bytes] = Counter()
        self.requests = 0
        self.most_spans = 10**9
        self.status = 200
        self.headers: dict[str, str] = {}
        self.rejected = 0
        self.trickles = threading.Event()
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class CollectorHandler(BaseHTTPRequestHandler):
    server: CollectorServer

    def do_POST(self) -> None:
        own = self.server
        request = ExportTraceServiceRequest()
        request.ParseFromString(gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))))
        own.requests += 1
        own.seen.append({"path": self.path, **dict(self.headers)})
        ids = [one.span_id for group in request.resource_spans for some in group.scope_spans for one in some.spans]
        if own.trickles.is_set():
            self._trickle()
            return
        status = 413 if len(ids) > own.most_spans else own.status
        body = b"the header was " + self.headers.get("Authorization", "").encode()
        if status == 200:
            own.spans.update(ids)
            partial_success = ExportTracePartialSuccess(rejected_spans=own.rejected)
            body = ExportTraceServiceResponse(partial_success=partial_success).SerializeToString()
        self.send_response(status)
        for name, value in own.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _trickle(self) -> None:
        """Begin an answer that never ends, a byte at a time."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while self.server.trickles.is_set():
            self.wfile.write(b"a")
            time.sleep(0.05)

    def log_message(self, *_: object) -> None: ...


class Agents:
    """The loop in one agents process, whose clock a test moves."""

    def __init__(self, server: TraceTables, collector: CollectorServer, whole_s: float = 300.0) -> None:
        self.now = 1000.0
        self.whole_s = whole_s
        self._server, self._collector = server, collector
        self.start()

    def start(self) -> None:
        policy = TracingPolicy(self._collector.url, {"Authorization": "Bearer s3cret-word"}, "fleet")
        self.loop = TraceLoop(policy, Collector(policy, whole_s=self.whole_s), clock=lambda: self.now)
        # By this clock a term never ends, however slow the machine of a test is.
        self.lease = AgentsLease(f"host:{time.monotonic_ns()}", clock=lambda: 0.0)
        with connect({"conninfo": self._server.dsn}, "lease") as connection:
            connection.execute("UPDATE airfleet.lease SET holder = ''")
            self.lease.note(self.lease.ask(connection))
        open_connection = partial(connect, {"conninfo": self._server.dsn})
        self.context = Context(loop.NAME, {}, self.lease, threading.Event(), open_connection)

    def turn(self) -> None:
        self.loop.once(self.context)

    def stop(self) -> None:
        self.context.disconnect()


def start(server: TraceTables, run: str) -> int:
    sql = "INSERT INTO dag_run (dag_id, run_id, state) VALUES ('sales', %s, 'running') RETURNING id"
    [(number,)] = server.query(sql, run)
    return int(number)


def end(server: TraceTables, number: int, tasks: int = 2, state: str = "success") -> None:
    moment = f"{int(datetime.now(UTC).timestamp() * 1000):012x}"
    prefix = f"{moment[:8]}-{moment[8:]}-7"
    server.query("UPDATE dag_run SET end_date = now() WHERE id = %s", number)
    server.query(TASKS, prefix, tasks, number)
    server.query("UPDATE dag_run SET state = %s WHERE id = %s", state, number)


def clear(server: TraceTables, number: int) -> None:
    """Clear all tasks of a run, as Airflow does."""
    server.query("INSERT INTO task_instance_history SELECT * FROM task_instance")
    server.query("DELETE FROM task_instance")
    server.query(
        "UPDATE dag_run SET state = 'queued', clear_number = clear_number + 1, queued_at = now(), end_date = NULL"
        " WHERE id = %s",
        number,
    )


def read_totals(server: TraceTables) -> dict[str, int]:
    return dict(server.query("SELECT kind, amount FROM airfleet.trace_total"))
