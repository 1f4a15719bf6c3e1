"""Traces of ended runs reach a collector whatever happens to it or to the agents, on a real PostgreSQL."""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

import killed_lines
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract.tracing_policy import TracingPolicy
from airfleet_provider.traces import loop, store
from airfleet_provider.traces.collector import Collector
from airfleet_provider.traces.loop import NoTraceLoop, TraceLoop
from deadline import wait_until
from servers import serve_own

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


@pytest.fixture(scope="module")
def database() -> Iterator[TraceTables]:
    with serve_own() as one:
        tables = TraceTables(one.dsn)
        for statement in TABLES.split(";"):
            tables.query(statement)
        yield tables


@pytest.fixture
def server(database: TraceTables, monkeypatch: pytest.MonkeyPatch) -> TraceTables:
    monkeypatch.setattr(store, "SETTLED_S", -1.0)
    database.query("TRUNCATE dag_run, task_instance, task_instance_history, task_reschedule, log RESTART IDENTITY")
    database.query("TRUNCATE airfleet.traced_run, airfleet.trace_total")
    database.query("DELETE FROM airfleet.watermark")
    return database


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with CollectorServer() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.trickles.clear()
        one.shutdown()


@pytest.fixture
def agents(server: TraceTables, collector: CollectorServer) -> Iterator[Agents]:
    one = Agents(server, collector)
    one.turn()
    yield one
    one.stop()


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


def test_a_run_is_sent_once_it_has_ended_and_only_once(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    number = start(server, "r1")
    agents.turn()
    assert collector.requests == 0
    end(server, number)
    for _ in range(3):
        agents.turn()
    assert (len(collector.spans), collector.requests) == (1 + 2 * 4, 1)
    assert collector.seen[0]["path"] == "/v1/traces"
    assert collector.seen[0]["Authorization"] == "Bearer s3cret-word"
    assert read_totals(server) == {"runs sent": 1, "spans sent": 9}


def test_runs_from_before_are_not_sent_and_those_of_a_time_without_tracing_are_not(
    server: TraceTables, collector: CollectorServer
) -> None:
    end(server, start(server, "before"))
    server.query("UPDATE task_instance SET id = '00000000-0000-7000-8000-000000000000' WHERE map_index = 0")
    server.query("DELETE FROM task_instance WHERE map_index = 1")
    agents = Agents(server, collector)
    agents.turn()
    agents.turn()
    assert collector.requests == 0
    NoTraceLoop().once(agents.context)
    assert server.query("SELECT count(*) FROM airfleet.traced_run") == [(0,)]
    agents.stop()


def test_no_death_at_any_line_loses_a_trace(server: TraceTables, collector: CollectorServer) -> None:
    """Each line dies once, then a new process goes on. Every run must have all of its spans in the end."""

    def play(kill_at: killed_lines.Line | None) -> list[killed_lines.Line]:
        agents = Agents(server, collector)
        number = start(server, f"r{time.monotonic_ns()}")
        before = set(collector.spans)

        def work() -> None:
            agents.turn()
            end(server, number)
            agents.turn()

        # What `store` does is in the loop's transactions: a death there is one before the loop's next line.
        lines = killed_lines.run_until(work, kill_at, loop)
        agents.stop()
        agents.start()
        if server.query("SELECT state FROM dag_run WHERE id = %s", number) == [("running",)]:
            end(server, number)
        agents.turn()
        agents.stop()
        assert len(set(collector.spans) - before) == 9, kill_at
        return lines

    lines = play(None)
    assert len(lines) > 25
    for line in lines:
        play(line)


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"), [(503, {}, 5), (429, {"Retry-After": "70"}, 70), (400, {}, 5)]
)
def test_a_collector_that_refuses_gets_everything_later(
    server: TraceTables,
    collector: CollectorServer,
    agents: Agents,
    caplog: pytest.LogCaptureFixture,
    *,
    status: int,
    headers: dict[str, str],
    wait_s: float,
) -> None:
    collector.status, collector.headers = status, headers
    end(server, start(server, "r1"))
    agents.turn()
    agents.turn()
    assert collector.requests == 1
    assert "s3cret" not in caplog.text
    collector.status = 200
    agents.now += wait_s + 0.1
    end(server, start(server, "r2"))
    agents.turn()
    assert len(collector.spans) == 2 * 9
    assert set(collector.spans.values()) == {1}


def test_a_collector_that_never_ends_its_answer_is_left(server: TraceTables, collector: CollectorServer) -> None:
    agents = Agents(server, collector, whole_s=1.0)
    agents.turn()
    collector.trickles.set()
    end(server, start(server, "r1"))
    agents.turn()
    agents.now += 400
    agents.turn()
    wait_until(lambda: collector.requests, "the request that is not answered")
    assert collector.requests == 1
    collector.trickles.clear()
    agents.stop()
    agents = Agents(server, collector)
    agents.turn()
    agents.stop()
    assert len(collector.spans) == 9


def test_what_a_collector_rejects_is_counted_and_not_sent_again(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    collector.rejected = 2
    end(server, start(server, "r1"))
    agents.turn()
    agents.turn()
    assert collector.requests == 1
    assert read_totals(server) == {"runs sent": 1, "spans sent": 7, "spans rejected": 2}


def test_a_large_run_goes_in_pieces_and_a_collector_may_want_smaller_ones(
    server: TraceTables, collector: CollectorServer, agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.most_spans = 400
    end(server, start(server, "r1"), tasks=300)
    monkeypatch.setattr(loop, "TURN_S", 0.001)
    agents.now = 0.0
    ticks = iter(range(10**6))
    agents.loop._clock = lambda: next(ticks) * 0.0004
    for _ in range(40):
        agents.turn()
    assert set(collector.spans.values()) == {1}
    assert len(collector.spans) == 1 + 300 * 4
    assert read_totals(server) == {"runs sent": 1, "spans sent": 1201}


def test_a_run_that_was_cleared_is_sent_again_with_what_is_new(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    number = start(server, "r1")
    end(server, number)
    agents.turn()
    clear(server, number)
    end(server, number)  # before the loop has seen that it ran again
    agents.turn()
    assert set(collector.spans.values()) == {1}
    assert len(collector.spans) == 2 * 9


def test_a_run_of_any_age_is_found_when_it_was_cleared(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    number = start(server, "old")
    end(server, number)
    agents.turn()
    server.query("UPDATE airfleet.watermark SET value = 5000")
    server.query("DELETE FROM airfleet.traced_run")
    clear(server, number)
    end(server, number)
    agents.turn()
    assert len(collector.spans) == 9 + 9


def test_a_run_that_was_cleared_and_ended_while_no_agents_looked_is_found(
    server: TraceTables, collector: CollectorServer, agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MADE_S", 0.0)
    number = start(server, "old")
    end(server, number)
    agents.turn()
    server.query("UPDATE airfleet.watermark SET value = 5000 WHERE name <> 'traces_looked'")
    server.query("DELETE FROM airfleet.traced_run")
    clear(server, number)
    end(server, number)
    time.sleep(0.1)  # longer than they look back
    agents.turn()
    assert len(collector.spans) == 9 + 9


def test_a_trace_that_nobody_took_for_three_days_is_given_up_and_counted(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    collector.status = 500
    number = start(server, "r1")
    end(server, number)
    agents.turn()
    server.query("UPDATE dag_run SET end_date = now() - interval '3 days 1 hour'")
    agents.turn()
    collector.status = 200
    agents.now += 1000
    agents.turn()
    assert not collector.spans
    assert read_totals(server) == {"runs given up": 1}


def test_a_trace_that_is_refused_keeps_no_other_back(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    collector.most_spans = 0  # it says that one span is too large
    end(server, start(server, "r1"))
    for _ in range(8):
        agents.now += 400
        agents.turn()
    [(failures,)] = server.query("SELECT failures FROM airfleet.traced_run")
    assert failures > 1
    collector.most_spans = 10**9
    end(server, start(server, "r2"))
    agents.now += 400
    before = collector.requests
    agents.turn()
    assert read_totals(server)["runs sent"] == 2
    assert collector.requests - before <= 2, "other runs go in requests of the usual size"


def test_a_run_of_which_no_trace_can_be_made_keeps_no_other_back(
    server: TraceTables, collector: CollectorServer, agents: Agents, caplog: pytest.LogCaptureFixture
) -> None:
    end(server, start(server, "broken"))
    server.query("UPDATE task_instance SET pool = NULL")  # Airflow's own column refuses that
    end(server, start(server, "well"))
    for _ in range(3):
        agents.turn()
    assert read_totals(server)["runs sent"] == 1
    assert caplog.text.count("no trace can be made of the run") == 1
    assert "no trace can be made of the run broken" in caplog.text


def test_a_process_that_lost_the_lease_writes_nothing(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    other = Agents(server, collector)
    end(server, start(server, "r1"))
    with pytest.raises(RuntimeError, match="is over"):
        agents.turn()
    other.turn()
    assert len(collector.spans) == 9
    other.stop()


def test_the_statements_scan_no_table_of_airflow(server: TraceTables) -> None:
    server.query("CREATE INDEX IF NOT EXISTS run_running ON dag_run (dag_id) WHERE state = 'running'")
    server.query("CREATE INDEX IF NOT EXISTS run_queued ON dag_run (dag_id) WHERE state = 'queued'")
    server.query("CREATE INDEX IF NOT EXISTS log_try ON log (dag_id, task_id, run_id, map_index, try_number)")
    server.query("CREATE INDEX IF NOT EXISTS try_run ON task_instance (dag_id, run_id)")
    server.query(
        "INSERT INTO dag_run (dag_id, run_id, state, end_date)"
        " SELECT 'd' || n %% 50, 'r' || n, 'success', now() FROM generate_series(1, %s) n",
        20_000,
    )
    server.query(
        "INSERT INTO task_instance (id, dag_id, run_id, task_id, state) SELECT"
        " overlay(gen_random_uuid()::text PLACING '00' FROM 1)::uuid, 'd' || n %% 50, 'r' || n, 't', 'success'"
        " FROM generate_series(1, %s) n",
        20_000,
    )
    server.query(
        "INSERT INTO log (event, dag_id, task_id, run_id, try_number)"
        " SELECT 'running', 'd' || n %% 50, 't', 'r' || n, 1 FROM generate_series(1, %s) n",
        20_000,
    )
    server.query("ANALYZE")
    words = {
        "overlap": 500,
        "made_after": str(UUID(int=int(time.time() * 1000) << 80)),
        "dag": "d1",
        "run": "r1",
        "most": 20,
        "settled_s": 2.0,
        "oldest_s": 9.0,
        "events": list(store.EVENTS),
    }
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(store.SQL["begin"])
        for name in ("unnoted", "newest", "waiting", "old", "events", "rescheduled"):
            plan = connection.execute("EXPLAIN " + store.SQL[name], words).fetchall()
            text = "\n".join(line for (line,) in plan)
            for table in ("dag_run", "task_instance", "log"):
                assert f"Seq Scan on {table} " not in text, text
