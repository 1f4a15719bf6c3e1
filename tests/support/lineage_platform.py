"""What events of OpenLineage pass through: records of tasks, the agents' loop, and backends that a test can stop."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
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

from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract import environment
from airfleet_provider.contract.openlineage_policy import BackendKind, LineageBackend, OpenLineagePolicy
from airfleet_provider.contract.task_records import RecordKind
from airfleet_provider.execution_api.record_reports import RecordReports, RecordStore
from airfleet_provider.lineage_events import loop
from airfleet_provider.lineage_events.backends import LineageReceiver
from airfleet_provider.lineage_events.loop import LineageLoop
from airfleet_provider.task_records.handover import RecordHandover
from airfleet_provider.task_records.writer import RecordWriter

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


def leave_records(platform: LineagePlatform, instance: str) -> Path:
    """Leave a file of an attempt whose processes have all died."""
    environ = platform.hand_over(instance).prepare()
    run_in_child(lambda: RecordWriter(environ).write(RecordKind.OPENLINEAGE, {"at": "the end"}))
    [path] = platform.folder.glob(f"{instance}.*")
    return path
