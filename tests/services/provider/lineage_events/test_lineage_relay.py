"""Events of OpenLineage go from a task's file into the database and to backends, each once, on a real PostgreSQL.

The backends are servers of this test that hold airfleet to the documented API of each: paths, headers and answers. No
Marquez, DataHub or OpenMetadata runs here.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    error_message_run,
    job_type_job,
    schema_dataset,
    source_code_job,
    sql_job,
)
from openlineage.client.generated.base import JobFacet
from psycopg.rows import dict_row

import killed_lines
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract import environment
from airfleet_provider.contract.openlineage_policy import BackendKind, LineageBackend, OpenLineagePolicy
from airfleet_provider.contract.task_records import MOST_FILE_BYTES, REPORTED_AT, RecordKind, encode
from airfleet_provider.execution_api.record_reports import MOST_EVENT_BYTES, MOST_EVENTS, RecordReports, RecordStore
from airfleet_provider.lineage_events import loop, store
from airfleet_provider.lineage_events.backends import LineageReceiver
from airfleet_provider.lineage_events.loop import LineageLoop
from airfleet_provider.task_records import handover
from airfleet_provider.task_records.handover import RecordHandover
from airfleet_provider.task_records.writer import RecordWriter
from servers import serve_own

TRANSPORT = {"type": "airfleet_provider.task_records.openlineage.RecordTransport"}
TABLES = """
CREATE TABLE task_instance (id uuid PRIMARY KEY, dag_id text, run_id text, task_id text, hostname text DEFAULT 'w1',
    start_date timestamptz);
CREATE TABLE task_instance_history (task_instance_id uuid PRIMARY KEY, dag_id text, run_id text, task_id text,
    hostname text, start_date timestamptz)
"""
WAREHOUSE = "postgres://reader:s3cret-word@wh:5432"


class LineageServer(ThreadingHTTPServer):
    """A backend that keeps what it took, and can be told what to answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), LineageHandler)
        self.status = 201
        self.seen: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def list_taken(self, path: str) -> list[Any]:
        return [one["body"] for one in self.seen if one["path"] == path and one["status"] < 300]


class LineageHandler(BaseHTTPRequestHandler):
    server: LineageServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = 422 if body["job"]["name"].endswith(".odd") else self.server.status
        self.server.seen.append({"path": self.path, "status": status, "body": body, **dict(self.headers)})
        said = b"the header was " + self.headers.get("Authorization", "").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None: ...


class TaskApiClient:
    """The client of a supervisor, whose token is the id of its attempt. The API is asked in this process."""

    def __init__(self, dsn: str, instance: str) -> None:
        self.store = RecordStore(lambda: _connect(dsn))
        self.instance = instance
        self.status = 0

    def build_request(self, method: str, url: str, **given: Any) -> Mapping[str, Any]:  # noqa: ANN401 - httpx's
        return {"method": method, "path": f"/execution/{url}", **given}

    def send(self, request: Mapping[str, Any]) -> TaskApiClient:
        sent: list[dict[str, Any]] = []

        async def pass_on(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
            await send({"type": "http.response.start", "status": 404, "headers": []})

        async def read_token(text: str) -> str:
            return str(uuid.UUID(text))

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request["content"]}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def ask() -> None:
            given = {**request["headers"], "Authorization": f"Bearer {self.instance}"}
            given["Content-Length"] = len(request["content"])
            headers = [(name.lower().encode(), str(value).encode()) for name, value in given.items()]
            scope = {"type": "http", "method": request["method"], "path": request["path"], "headers": headers}
            await RecordReports(pass_on, self.store, read_token)(scope, receive, send)

        asyncio.run(ask())
        self.status = sent[0]["status"]
        return self

    @property
    def status_code(self) -> int:
        return self.status


def _connect(dsn: str) -> Any:  # noqa: ANN401 - psycopg2's
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


class LineagePlatform:
    """The database, a folder of records, the agents' loop and the backends."""

    def __init__(self, dsn: str, folder: Path, backend: LineageServer) -> None:
        self.dsn, self.folder, self.backend = dsn, folder, backend
        self.now = 1000.0
        self._connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.policy = OpenLineagePolicy(
            (
                LineageBackend("marquez", BackendKind.MARQUEZ, backend.url, "t0p-secret-key"),
                LineageBackend("datahub", BackendKind.DATAHUB, f"{backend.url}/", dags=("sal*",)),
                LineageBackend("openmetadata", BackendKind.OPENMETADATA, backend.url),
            )
        )
        self.start()

    def start(self) -> None:
        receivers = [LineageReceiver(one) for one in self.policy.backends]
        self.loop = LineageLoop(self.policy, receivers, clock=lambda: self.now)
        lease = AgentsLease(f"host:{time.monotonic_ns()}", clock=lambda: 0.0)
        with connect({"conninfo": self.dsn}, "lease") as connection:
            connection.execute("UPDATE airfleet.lease SET holder = ''")
            lease.note(lease.ask(connection))
        opener = partial(connect, {"conninfo": self.dsn})
        self.context = Context(loop.NAME, {}, lease, threading.Event(), opener)

    def turn(self) -> None:
        self.loop.once(self.context)

    def stop(self) -> None:
        self.context.disconnect()

    def query(self, sql: Any, *words: object) -> list[dict[str, Any]]:  # noqa: ANN401 - text of this test
        cursor = self._connection.execute(sql, words or None)
        return cursor.fetchall() if cursor.description else []

    def add_attempt(self, dag: str = "sales", task: str = "load", host: str = "w1") -> str:
        instance = str(uuid.uuid4())
        self.query("INSERT INTO task_instance VALUES (%s, %s, 'r1', %s, %s)", instance, dag, task, host)
        return instance

    def hand_over(self, instance: str, sender: str = "") -> RecordHandover:
        own = sender or instance
        return RecordHandover(TaskApiClient(self.dsn, own), str(self.folder), own, wall=lambda: time.time() + 3600)

    def emit(self, instance: str, monkeypatch: pytest.MonkeyPatch, event: RunEvent) -> None:
        """Write an event as the process of a task does, by OpenLineage's own client. The process has ended then."""
        for name, value in self.hand_over(instance).prepare().items():
            monkeypatch.setenv(name, value)
        run_in_child(lambda: OpenLineageClient(config={"transport": dict(TRANSPORT)}).emit(event))
        monkeypatch.delenv(environment.RECORDS)


def run_in_child(work: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with serve_own() as one, psycopg.connect(one.dsn, autocommit=True) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement)
        yield one.dsn


@pytest.fixture
def platform(dsn: str, tmp_path: Path) -> Iterator[LineagePlatform]:
    with LineageServer() as backend:
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        one = LineagePlatform(dsn, tmp_path / "records", backend)
        one.query("TRUNCATE task_instance, task_instance_history")
        one.query(
            "TRUNCATE airfleet.lineage_event, airfleet.lineage_delivery, airfleet.dataset_use, airfleet.column_use,"
            " airfleet.record_total, airfleet.record_spool"
        )
        yield one
        one.stop()
        backend.shutdown()


def make_event(
    job: str = "sales.load", kind: RunState = RunState.COMPLETE, *, has_both: bool = True, job_type: str = ""
) -> RunEvent:
    lineage = column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={
            "total": column_lineage_dataset.Fields(
                inputFields=[column_lineage_dataset.InputField(WAREHOUSE, "dwh.raw.orders", "amount")],
                transformationDescription="sum(amount) where key = 's3cret-word'",
                transformationType="AGGREGATION",
            )
        }
    )
    schema = schema_dataset.SchemaDatasetFacet(fields=[schema_dataset.SchemaDatasetFacetFields("total", "int")])
    facets: dict[str, JobFacet] = {
        "sql": sql_job.SQLJobFacet("select 's3cret-word'"),
        "sourceCode": source_code_job.SourceCodeJobFacet("python", "password = 's3cret-word'"),
    }
    if job_type:
        facets["jobType"] = job_type_job.JobTypeJobFacet("BATCH", "AIRFLOW", job_type)
    failed = error_message_run.ErrorMessageRunFacet("password=s3cret-word", "python", "Traceback s3cret-word")
    return RunEvent(
        eventType=kind,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(str(uuid.uuid4()), {"errorMessage": failed}),
        job=Job("fleet", job, facets),
        inputs=[InputDataset(WAREHOUSE, "dwh.raw.orders")] if has_both else [],
        outputs=[OutputDataset(WAREHOUSE, "dwh.marts.sales", facets={"schema": schema, "columnLineage": lineage})],
        producer="https://example.com/test",
    )


def test_an_event_becomes_facts_and_goes_to_each_backend_by_its_own_api(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = platform.add_attempt()
    # The job of the event is a claim of the task. What counts is whose token came with it.
    platform.emit(instance, monkeypatch, make_event("payroll.pay"))
    platform.emit(instance, monkeypatch, make_event(kind=RunState.START))
    [*files] = platform.folder.iterdir()
    assert len(files) == 2, "each client has a file"
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    assert not any(b"s3cret-word" in one.read_bytes() for one in files)
    platform.hand_over(instance).finish()
    assert not list(platform.folder.iterdir())
    platform.turn()
    platform.turn()
    sent = {path: platform.backend.list_taken(path) for path in {one["path"] for one in platform.backend.seen}}
    assert {path: len(ones) for path, ones in sent.items()} == {
        "/api/v1/lineage": 2,
        "/openapi/openlineage/api/v1/lineage": 2,
        "/api/v1/openlineage/lineage": 1,
    }, "OpenMetadata gets no event that it makes nothing of"
    tokens = {one["path"]: one.get("Authorization") for one in platform.backend.seen}
    assert tokens["/api/v1/lineage"] == "Bearer t0p-secret-key"
    assert tokens["/api/v1/openlineage/lineage"] is None
    for event in sent["/api/v1/lineage"]:
        assert event.keys() >= {"eventType", "eventTime", "run", "job", "producer", "schemaURL", "inputs", "outputs"}
        assert uuid.UUID(event["run"]["runId"])
    uses = platform.query("SELECT dag_id, task_id, namespace, name, is_output, columns FROM airfleet.dataset_use")
    assert sorted((one["dag_id"], one["name"], one["is_output"], one["columns"]) for one in uses) == [
        ("sales", "dwh.marts.sales", True, ["total"]),
        ("sales", "dwh.raw.orders", False, []),
    ]
    assert {one["namespace"] for one in uses} == {"postgres://wh:5432"}
    [column] = platform.query("SELECT * FROM airfleet.column_use")
    assert (column["field"], column["from_name"], column["from_field"], column["how"]) == (
        "total",
        "dwh.raw.orders",
        "amount",
        "AGGREGATION",
    )


def test_a_backend_hears_of_the_start_of_a_task_with_the_time_that_the_database_has(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, older = platform.add_attempt(), platform.add_attempt(task="check")
    began = datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)
    platform.query("UPDATE task_instance SET start_date = %s WHERE id = %s", began, instance)
    for kind in (RunState.START, RunState.FAIL):
        platform.emit(instance, monkeypatch, make_event(kind=kind, job_type="TASK"))
    # A query within a task has a start of its own, and the database does not know it.
    for kind in (RunState.START, RunState.COMPLETE):
        platform.emit(instance, monkeypatch, make_event("sales.load.query.1", kind, job_type="QUERY"))
    # The database has forgotten when this one began.
    platform.emit(older, monkeypatch, make_event("sales.check", job_type="TASK"))
    platform.hand_over(instance).finish()
    platform.hand_over(older).finish()
    platform.turn()
    taken = platform.backend.list_taken("/api/v1/lineage")
    assert sorted((one["job"]["name"], one["eventType"]) for one in taken) == [
        ("sales.check", "COMPLETE"),
        ("sales.load", "FAIL"),
        ("sales.load", "START"),
        ("sales.load.query.1", "COMPLETE"),
        ("sales.load.query.1", "START"),
    ]
    start, end = (one for one in taken if one["job"]["name"] == "sales.load")
    assert (start["eventType"], end["eventType"]) == ("START", "FAIL"), "the start comes first"
    assert datetime.fromisoformat(start["eventTime"]) == began
    assert start["run"]["runId"] == end["run"]["runId"]
    assert "errorMessage" not in start["run"]["facets"]
    assert start["outputs"] == [], "nothing is known to be written at a start"
    only = {one["eventType"] for one in platform.backend.list_taken("/api/v1/openlineage/lineage")}
    assert only == {"COMPLETE"}


def test_a_burst_is_sent_bit_by_bit_and_what_waits_for_long_at_once(platform: LineagePlatform) -> None:
    instance = platform.add_attempt()
    body = json.dumps({"eventType": "COMPLETE", "run": {"runId": str(uuid.uuid4())}, "job": {"name": "sales.load"}})
    many = loop.DELIVERIES_PER_TURN + 30

    def add() -> None:
        platform.query(
            "INSERT INTO airfleet.lineage_event (instance, file, place, body)"
            " SELECT %s, %s, place, %s FROM generate_series(1, %s) AS place",
            instance,
            uuid.uuid4().hex,
            body,
            many,
        )

    add()
    platform.turn()
    assert len(platform.backend.list_taken("/api/v1/lineage")) == loop.DELIVERIES_PER_TURN
    platform.turn()
    assert len(platform.backend.list_taken("/api/v1/lineage")) == many
    add()
    platform.backend.status = 503
    platform.turn()
    platform.query("UPDATE airfleet.lineage_delivery SET since = clock_timestamp() - interval '1 hour'")
    platform.backend.status = 201
    platform.now += 301
    platform.turn()
    assert len(platform.backend.list_taken("/api/v1/lineage")) == 2 * many
    assert platform.query("SELECT amount FROM airfleet.record_total WHERE kind = 'events sent'") == [
        {"amount": 4 * many}
    ]


def test_no_death_at_any_line_loses_or_doubles_an_event(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of the hand-over and of the loop dies once. A later attempt of the host and a new process go on."""

    def play(kill_at: killed_lines.Line | None) -> list[killed_lines.Line]:
        instance = platform.add_attempt()
        job = f"sales.t{time.monotonic_ns()}"
        platform.emit(instance, monkeypatch, make_event(job))

        def work() -> None:
            platform.hand_over(instance).finish()
            platform.turn()

        lines = killed_lines.run_until(work, kill_at, handover, loop, store)
        platform.stop()
        platform.start()
        later = platform.add_attempt(task="later")
        platform.hand_over(later, later).finish()
        platform.turn()
        rows = platform.query("SELECT body FROM airfleet.lineage_event WHERE body LIKE %s", f"%{job}%")
        assert len(rows) == 1, kill_at
        got = [one for one in platform.backend.list_taken("/api/v1/lineage") if one["job"]["name"] == job]
        # A backend whose answer was not noted gets the event again: it has the same run and time.
        assert {json.dumps(one, sort_keys=True) for one in got} == {
            json.dumps(json.loads(rows[0]["body"]), sort_keys=True)
        }
        return lines

    lines = play(None)
    assert len(lines) > 60
    for line in lines:
        play(line)
    assert not platform.query("SELECT * FROM airfleet.lineage_delivery")


def test_a_backend_that_is_away_gets_everything_later_and_keeps_no_other_back(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    platform.backend.status = 503
    for task in ("load", "odd", "check"):
        instance = platform.add_attempt(task=task)
        platform.emit(instance, monkeypatch, make_event(f"sales.{task}"))
        platform.hand_over(instance).finish()
    platform.turn()
    platform.turn()
    assert not platform.backend.list_taken("/api/v1/lineage")
    assert len(platform.query("SELECT * FROM airfleet.lineage_delivery")) == 9
    assert "t0p-secret-key" not in caplog.text
    platform.backend.status = 201
    for _ in range(12):
        platform.now += 301
        platform.turn()
    taken = platform.backend.list_taken("/api/v1/lineage")
    assert sorted(one["job"]["name"] for one in taken) == ["sales.check", "sales.load"]
    assert not platform.query("SELECT * FROM airfleet.lineage_delivery"), "what is refused again and again is given up"
    [given_up] = platform.query("SELECT amount FROM airfleet.record_total WHERE kind = 'events given up'")
    assert given_up["amount"] == 3


def test_an_attempt_hands_over_only_its_own_records_and_those_of_its_host(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, neighbour = platform.add_attempt(host="w1"), platform.add_attempt(host="w1", task="other")
    stranger = platform.add_attempt(host="w2")
    platform.emit(victim, monkeypatch, make_event())
    platform.hand_over(stranger, stranger).finish()
    assert not platform.query("SELECT * FROM airfleet.lineage_event"), "another host speaks for it"
    platform.emit(victim, monkeypatch, make_event())
    platform.hand_over(neighbour, neighbour).finish()
    assert len(platform.query("SELECT * FROM airfleet.lineage_event")) == 1


def test_a_task_that_works_for_long_keeps_its_file_until_it_has_ended(platform: LineagePlatform) -> None:
    """An attempt that ends meanwhile on the same host hands over what is left, and a quiet file is not left."""
    running = [platform.add_attempt(task=f"long{number}") for number in range(4)]
    writers = [RecordWriter(platform.hand_over(one).prepare()) for one in running]
    for writer in writers:
        assert writer.write(RecordKind.OPENLINEAGE, {"at": "the start"})
    left, other = platform.add_attempt(task="left"), platform.add_attempt(task="short")
    leave_records(platform, left)
    platform.hand_over(other).finish()
    [found] = platform.query("SELECT instance::text FROM airfleet.lineage_event")
    assert found["instance"] == left, "what runs keeps nothing back that was left"
    assert writers[0].write(RecordKind.OPENLINEAGE, {"at": "the end"})
    platform.hand_over(running[0]).finish()
    platform.hand_over(running[0]).finish()
    rows = platform.query("SELECT body FROM airfleet.lineage_event WHERE instance = %s ORDER BY place", running[0])
    assert [json.loads(one["body"])["at"] for one in rows] == ["the start", "the end"]


def leave_records(platform: LineagePlatform, instance: str) -> Path:
    """Leave a file of an attempt whose processes have all died."""
    environ = platform.hand_over(instance).prepare()
    run_in_child(lambda: RecordWriter(environ).write(RecordKind.OPENLINEAGE, {"at": "the end"}))
    [path] = platform.folder.glob(f"{instance}.*")
    return path


def test_an_attempt_that_failed_and_is_tried_again_loses_nothing_of_its_neighbours(platform: LineagePlatform) -> None:
    left, sender = platform.add_attempt(task="left"), platform.add_attempt(task="again")
    path = leave_records(platform, left)
    platform.query("DELETE FROM task_instance WHERE id = %s", sender)
    platform.hand_over(sender).finish()
    assert path.exists(), "nobody knows the sender"
    # Airflow gives the next try another id, before the supervisor of this one ends.
    platform.query("INSERT INTO task_instance_history VALUES (%s, 'sales', 'r1', 'again', 'w1')", sender)
    platform.hand_over(sender).finish()
    assert not path.exists()
    assert len(platform.query("SELECT * FROM airfleet.lineage_event")) == 1


def test_what_a_task_puts_into_the_folder_keeps_no_other_record_back(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instance = platform.add_attempt()
    platform.emit(instance, monkeypatch, make_event())
    odd = [platform.folder / f"{instance}.{number:032x}.records" for number in range(3)]
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    odd[0].symlink_to(secret)
    os.mkfifo(odd[1])
    odd[2].mkdir()
    platform.hand_over(instance).finish()
    assert len(platform.query("SELECT * FROM airfleet.lineage_event")) == 1
    assert secret.exists()


@pytest.mark.parametrize("name", ["x" * 400, "\0odd", "\ud800", "é" * 300])
def test_no_name_that_a_task_thinks_of_stops_the_loop(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    instance = platform.add_attempt(dag="d" * 200)
    bad = make_event()
    bad.inputs = [InputDataset(name, name)]
    facet: Any = (bad.outputs[0].facets or {})["columnLineage"]  # type: ignore[index]
    facet.fields[name] = facet.fields["total"]
    platform.emit(instance, monkeypatch, bad)
    platform.emit(instance, monkeypatch, make_event())
    platform.hand_over(instance).finish()
    platform.turn()
    assert not platform.query("SELECT * FROM airfleet.lineage_event WHERE NOT is_read")
    assert platform.query("SELECT * FROM airfleet.dataset_use WHERE name = 'dwh.marts.sales'")


def test_what_is_old_goes_however_much_it_is(platform: LineagePlatform) -> None:
    """A busy fleet writes more spans in an hour than one transaction should remove."""
    platform.query(
        "INSERT INTO airfleet.user_span SELECT gen_random_uuid(), 1, gen_random_uuid(), 1, 0, 's', '', now(), 1, '{}',"
        " now() - interval '91 days' FROM generate_series(1, 45000)"
    )
    platform.query(
        "INSERT INTO airfleet.lineage_event (file, place, instance, arrived_at, is_read, body)"
        " SELECT gen_random_uuid(), 1, gen_random_uuid(), now() - interval '91 days', true, '{}'"
        " FROM generate_series(1, 45000)"
    )
    platform.turn()
    assert not platform.query("SELECT file FROM airfleet.user_span UNION ALL SELECT file FROM airfleet.lineage_event")


def test_an_event_is_kept_while_something_still_needs_it(platform: LineagePlatform) -> None:
    """What was read and delivered goes after a week. What waits stays, whatever its age, until it is given up."""
    add = (
        "INSERT INTO airfleet.lineage_event (file, place, instance, arrived_at, is_read, body)"
        " VALUES (gen_random_uuid(), 1, gen_random_uuid(), now() - make_interval(days => %s), %s, %s) RETURNING number"
    )
    for days, is_read, name in ((8, True, "done"), (6, True, "young"), (8, True, "waits"), (8, False, "unread")):
        [event] = platform.query(add, days, is_read, json.dumps({"name": name}))
        if name == "waits":
            platform.query("INSERT INTO airfleet.lineage_delivery VALUES ('marquez', %s, 0, now())", event["number"])
    platform.query(
        "INSERT INTO airfleet.dataset_use VALUES ('d', 't', 'n', 'x', true, now() - interval '60 days', 'r')"
    )
    with connect({"conninfo": platform.dsn}, "prune") as connection:
        store.prune(connection, ["marquez"], platform.policy.keep_days)
        assert not store.prune_some(connection, platform.policy.keep_days, platform.policy.event_days)
    kept = platform.query("SELECT body::jsonb ->> 'name' AS name FROM airfleet.lineage_event")
    assert sorted(one["name"] for one in kept) == ["unread", "waits", "young"]
    assert platform.query("SELECT name FROM airfleet.dataset_use"), "what events said is kept for `keep_days`"


def test_a_host_says_how_many_files_earlier_attempts_have_left(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its supervisors see the folder of a host, so an alert knows of it what they say."""
    running = platform.add_attempt(task="long")
    writer = RecordWriter(platform.hand_over(running).prepare())
    assert writer.write(RecordKind.OPENLINEAGE, {"at": "the start"})
    for number in range(5):
        leave_records(platform, platform.add_attempt(task=f"left{number}"))
    told = "SELECT host, files, oldest_s FROM airfleet.record_spool"
    for waiting in (2, 0):
        sender = platform.add_attempt(task="next")
        platform.emit(sender, monkeypatch, make_event())
        platform.hand_over(sender).finish()
        [spool] = platform.query(told)
        assert (spool["host"], spool["files"]) == ("w1", waiting), "what a task still writes to is not left"
        assert (spool["oldest_s"] >= 3000) is (waiting > 0)
    platform.query("UPDATE airfleet.record_spool SET told_at = now() - interval '4 days'")
    platform.turn()
    assert not platform.query(told), "a host that is gone is no alert for ever"


def test_an_attempt_that_hands_over_events_without_end_fills_no_database(platform: LineagePlatform) -> None:
    """A task has the token of its attempt, and needs no supervisor to use it."""
    for letters, count in ((100_000, 10), (0, 5000)):
        instance = platform.add_attempt()
        client = TaskApiClient(platform.dsn, instance)
        for _ in range(12):
            headers = {"Airfleet-Instance": instance, "Airfleet-File": uuid.uuid4().hex}
            content = encode(RecordKind.OPENLINEAGE, {"job": "x" * letters}) * count
            request = {"method": "PUT", "path": REPORTED_AT, "headers": headers, "content": content}
            assert client.send(request).status == 204
        [kept] = platform.query(
            "SELECT count(*) AS rows, sum(octet_length(body)) AS size FROM airfleet.lineage_event WHERE instance = %s",
            instance,
        )
        assert 0 < kept["rows"] <= MOST_EVENTS
        assert kept["size"] < MOST_EVENT_BYTES + MOST_FILE_BYTES
    assert platform.query("SELECT amount FROM airfleet.record_total WHERE kind = 'cut'")


def test_the_path_is_that_of_the_api() -> None:
    assert REPORTED_AT == "/execution/airfleet/records"
