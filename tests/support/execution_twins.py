"""Makes each call of a task on equal rows, once to Airflow's execution API and once to the fast path; JSON of both.

execution_twins.py      with AIRFLOW__DATABASE__SQL_ALCHEMY_CONN set to an empty PostgreSQL database
"""

from __future__ import annotations

# Airflow has no types, and the names of tables are those below.
# ruff: noqa: ANN401, S608
import json
import re
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow import settings
from airflow.api_fastapi.app import create_app
from airflow.api_fastapi.execution_api.app import _jwt_generator
from airflow.models import DagModel, DagRun, TaskInstance, import_all_models
from airflow.models.asset import AssetActive, AssetEvent, AssetModel
from airflow.models.base import Base
from airflow.models.dagbundle import DagBundleModel
from sqlalchemy import insert, text
from starlette.testclient import TestClient

from airfleet_provider.compat.calls import execution_api, metadata_db
from airfleet_provider.execution_api.fast_path import FastPath, Rows

VERSION = "2026-06-30"
START = {"state": "running", "hostname": "h1", "unixname": "u", "pid": 7, "start_date": "2026-01-01T10:00:05Z"}
SUCCESS = {"state": "success", "end_date": "2026-01-01T10:00:09.5Z", "task_outlets": [], "outlet_events": []}
BEAT = {"hostname": "h1", "pid": 7}
RUNS = {**START, "start_date": datetime(2026, 1, 1, 10, 0, 5, tzinfo=UTC)}
RESUMED = {"next_method": "resume", "next_kwargs": {"a": 1}}
ASSET = {"name": "a", "uri": "s3://a", "type": "Asset"}
DEFER: dict[str, Any] = {
    "state": "deferred",
    "classpath": "some.Trigger",
    "trigger_kwargs": {},
    "next_method": "resume",
    "trigger_timeout": None,
}


@dataclass(frozen=True)
class Case:
    """One call on one kind of task instance, for an XCom by method and key. If `short`, the fast path answers it."""

    name: str
    call: str
    body: Any
    row: dict[str, Any] = field(default_factory=dict)
    short: bool = False
    scope: str = "execution"
    run: str = "plain"
    headers: dict[str, str] = field(default_factory=dict)
    subject: str = ""
    before: str = ""
    times: int = 1


AN_XCOM = (
    "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, dag_result, timestamp)"
    " SELECT r.id, t.task_id, i, 'k', t.dag_id, t.run_id, {value}, true, '2026-01-01' FROM task_instance t, dag_run r,"
    " generate_series(-1, 2) i WHERE t.id = :id AND r.run_id = t.run_id AND i = t.map_index"
)
OLDER = (
    "INSERT INTO task_instance (id, dag_id, task_id, run_id, map_index, pool, pool_slots, try_number, span_status)"
    " SELECT gen_random_uuid(), dag_id, task_id, 'old', -1, pool, 1, 1, 'x' FROM task_instance WHERE id = :id"
)
SHOWN = (
    "INSERT INTO rendered_task_instance_fields (dag_id, task_id, run_id, map_index, rendered_fields)"
    " SELECT dag_id, task_id, {run}, -1, '{{}}' FROM task_instance t WHERE id = :id"
)
FIELDS = {"command": "echo", "env": {"password": "p"}, "list": [1, None]}
NOBODY = {"authorization": ""}
VALUE = {"é": [1, 1.0, 1.5e300, None, True, 2**70, "\u2603 %s"]}

CASES = (
    Case("start queued", "run", START, {"state": "queued"}, short=True),
    Case("start with the token of a workload", "run", START, {"state": "queued"}, short=True, scope="workload"),
    Case("start restarting", "run", START, {"state": "restarting", "try_number": 3}, short=True),
    Case("start a retry", "run", START, {"state": "queued", "try_number": 2, "max_tries": 3}, short=True),
    Case("start the last try", "run", START, {"state": "queued", "try_number": 4, "max_tries": 3}, short=True),
    Case("start mapped", "run", START, {"state": "queued", "map_index": 3}, short=True),
    Case(
        "start again after a policy",
        "run",
        START,
        {
            "state": "queued",
            "retry_delay_override": 5.0,
            "retry_reason": "r",
            "end_date": datetime(2026, 1, 1, tzinfo=UTC),
        },
        short=True,
    ),
    Case("start in a run with conf", "run", START, {"state": "queued"}, short=True, run="conf"),
    Case("start in a backfill", "run", START, {"state": "queued"}, short=True, run="backfill"),
    Case(
        "start with XComs of an earlier try",
        "run",
        START,
        {"state": "queued", "map_index": 2},
        short=True,
        before="INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
        " SELECT r.id, t.task_id, i, 'k' || i, t.dag_id, t.run_id, '1', now() FROM task_instance t, dag_run r,"
        " generate_series(1, 2) i WHERE t.id = :id AND r.run_id = t.run_id AND i = t.map_index",
    ),
    Case(
        "start a rescheduled sensor",
        "run",
        START,
        {"state": "queued"},
        short=True,
        before="INSERT INTO task_reschedule (ti_id, start_date, end_date, duration, reschedule_date)"
        " VALUES (:id, '2026-01-01', '2026-01-01', 0, '2026-01-01')",
    ),
    Case("start twice", "run", START, {"state": "queued"}, times=2),
    Case("start one that runs elsewhere", "run", START, {**RUNS, "pid": 8}),
    Case("start one that ended", "run", START, {"state": "success"}),
    Case("start one without a state", "run", START, {}),
    Case("resume", "run", START, {"state": "queued", **RESUMED}),
    Case("start in a run of assets", "run", START, {"state": "queued"}, run="asset"),
    Case("start with a wrong body", "run", {**START, "pid": "x"}, {"state": "queued"}),
    Case("start with an unknown field", "run", {**START, "x": 1}, {"state": "queued"}),
    Case("start with the token of another", "run", START, {"state": "queued"}, subject=str(uuid.UUID(int=5))),
    Case("start without a token", "run", START, {"state": "queued"}, headers={"authorization": ""}),
    Case("start with a forged token", "run", START, {"state": "queued"}, headers={"authorization": "Bearer x.y.z"}),
    Case("start by an old client", "run", START, {"state": "queued"}, headers={"airflow-api-version": "2025-11-05"}),
    Case("start with a body of no type", "run", START, {"state": "queued"}, headers={"content-type": ""}),
    Case("start one that is not there", "run", START, {"id": None}),
    Case("succeed", "state", SUCCESS, RUNS, short=True),
    Case("succeed with a label", "state", {**SUCCESS, "rendered_map_index": "m"}, {**RUNS, "map_index": 1}, short=True),
    Case("succeed after a resume", "state", SUCCESS, {**RUNS, **RESUMED}, short=True),
    Case("succeed keeps a label", "state", SUCCESS, {**RUNS, "rendered_map_index": "kept"}, short=True),
    Case("succeed without a host", "state", SUCCESS, {**RUNS, "hostname": ""}, short=True),
    Case("succeed twice", "state", SUCCESS, RUNS, times=2),
    Case("succeed when queued", "state", SUCCESS, {"state": "queued"}),
    Case("succeed with an asset", "state", {**SUCCESS, "task_outlets": [ASSET]}, RUNS),
    Case("succeed with the token of a workload", "state", SUCCESS, RUNS, scope="workload"),
    Case("succeed when not there", "state", SUCCESS, {"id": None}),
    Case("fail", "state", {"state": "failed", "end_date": "2026-01-01T10:00:09Z"}, RUNS),
    Case("skip", "state", {"state": "skipped", "end_date": "2026-01-01T10:00:09Z"}, RUNS),
    Case("retry", "state", {"state": "up_for_retry", "end_date": "2026-01-01T10:00:09Z"}, {**RUNS, "max_tries": 3}),
    Case(
        "reschedule",
        "state",
        {"state": "up_for_reschedule", "end_date": "2026-01-01T10:00:09Z", "reschedule_date": "2026-01-01T11:00:00Z"},
        RUNS,
    ),
    Case("defer", "state", DEFER, RUNS),
    Case("beat", "heartbeat", BEAT, RUNS, short=True),
    Case("beat from elsewhere", "heartbeat", BEAT, {**RUNS, "pid": 9}),
    Case("beat of one that was stopped", "heartbeat", BEAT, {**RUNS, "state": "failed"}),
    Case("beat of one that is not there", "heartbeat", BEAT, {"id": None}),
    Case("show fields", "rtif", FIELDS, RUNS, short=True),
    Case("end with fields", "end", {"fields": FIELDS, "end": SUCCESS}, RUNS, short=True),
    Case(
        "end with fields of a mapped one with a label",
        "end",
        {"fields": {"é": "\u2603 %s"}, "end": {**SUCCESS, "rendered_map_index": "m"}},
        {**RUNS, "map_index": 1},
        short=True,
    ),
    Case("end with fields after a resume", "end", {"fields": FIELDS, "end": SUCCESS}, {**RUNS, **RESUMED}, short=True),
    Case("end with fields in an old run", "end", {"fields": FIELDS, "end": SUCCESS}, RUNS, short=True, run="old"),
    Case(
        "end with fields where some are",
        "end",
        {"fields": FIELDS, "end": SUCCESS},
        RUNS,
        short=True,
        before=SHOWN.format(run="t.run_id") + ";" + OLDER + ";" + SHOWN.format(run="'old'"),
    ),
    Case("end with fields twice", "end", {"fields": FIELDS, "end": SUCCESS}, RUNS, times=2),
    Case("end with no fields", "end", {"fields": {}, "end": SUCCESS}, RUNS),
    Case("end with fields when queued", "end", {"fields": FIELDS, "end": SUCCESS}, {"state": "queued"}),
    Case("end with fields when stopped", "end", {"fields": FIELDS, "end": SUCCESS}, {**RUNS, "state": "failed"}),
    Case("end with fields and an asset", "end", {"fields": FIELDS, "end": {**SUCCESS, "task_outlets": [ASSET]}}, RUNS),
    Case("end with fields when not there", "end", {"fields": FIELDS, "end": SUCCESS}, {"id": None}),
    Case("end with fields and failure", "end", {"fields": FIELDS, "end": {**SUCCESS, "state": "failed"}}, RUNS),
    Case("end with fields without a token", "end", {"fields": FIELDS, "end": SUCCESS}, RUNS, headers=NOBODY),
    Case("end with fields of another", "end", {"fields": FIELDS, "end": SUCCESS}, RUNS, subject=str(uuid.UUID(int=5))),
    Case("push", "POST k", VALUE, RUNS, short=True),
    Case("push nothing", "POST k", None, RUNS),
    Case("push a text", "POST k", "a 'b' \\ c", RUNS, short=True),
    Case("push of a mapped one", "POST k?map_index=2", 7, {**RUNS, "map_index": 2}, short=True),
    Case("push a result", "POST return_value?dag_result=true", [], RUNS, short=True),
    Case("push in place of another", "POST k", VALUE, RUNS, short=True, before=AN_XCOM.format(value="'1'"), times=2),
    Case("push what others are mapped over", "POST return_value?mapped_length=3", [1, 2, 3], RUNS),
    Case("push with a wrong index", "POST k?map_index=x", 1, RUNS),
    Case("push with a key of two parts", "POST k/l", 1, RUNS),
    Case("push for a task that is not there", "POST k?map_index=5", 1, RUNS),
    Case("push in a run that is not there", "POST k", 1, {"id": None}, run="nowhere"),
    Case("push what no database takes", "POST k", "a\u0000b", RUNS),
    Case("push a body of another type", "POST k", 1, RUNS, headers={"content-type": "text/plain"}),
    Case("push without a token", "POST k", 1, RUNS, headers={"authorization": ""}),
    Case("push with the token of a workload", "POST k", 1, RUNS, scope="workload"),
    Case("pull", "GET k", None, RUNS, short=True, before=AN_XCOM.format(value='\'{"a": [1.0, "é"]}\'')),
    Case("pull nothing", "GET k", None, RUNS, short=True, before=AN_XCOM.format(value="NULL")),
    Case("pull a null", "GET k", None, RUNS, short=True, before=AN_XCOM.format(value="'null'")),
    Case(
        "pull of a mapped one",
        "GET k?map_index=2",
        None,
        {**RUNS, "map_index": 2},
        short=True,
        before=AN_XCOM.format(value="'3'"),
    ),
    Case("pull what is not there", "GET k", None, RUNS),
    Case("pull of earlier runs", "GET k?include_prior_dates=true", None, RUNS, before=AN_XCOM.format(value="'3'")),
    Case("pull by offset", "GET k?offset=0", None, RUNS, before=AN_XCOM.format(value="'3'")),
    Case("pull one of a sequence", "GET k/item/0", None, RUNS, before=AN_XCOM.format(value="'3'")),
    Case("pull by an old client", "GET k", None, RUNS, headers={"airflow-api-version": "2025-11-05"}),
    Case("show fields twice", "rtif", {"command": "echo"}, RUNS, short=True, times=2),
    Case("show fields of a mapped one", "rtif", {"é": "\u2603 %s"}, {**RUNS, "map_index": 4}, short=True),
    Case("show no fields", "rtif", {}, RUNS),
    Case("show fields of one that is not there", "rtif", {"a": "b"}, {"id": None}),
    Case("show fields in an old run", "rtif", {"command": "echo"}, RUNS, short=True, run="old"),
    Case(
        "show fields where older ones are",
        "rtif",
        {"command": "echo"},
        RUNS,
        short=True,
        before=OLDER + ";" + SHOWN.format(run="'old'"),
    ),
)
METHODS = {"run": "PATCH", "state": "PATCH", "end": "PATCH"}
NOT_FOUND = 404
TABLES = (
    "task_instance",
    "log",
    "rendered_task_instance_fields",
    "task_reschedule",
    "trigger",
    "task_instance_history",
    "xcom",
)
EMPTIED = ("task_reschedule", "trigger")
# What differs between two equal calls: what is generated, and the clock.
GENERATED = {"id", "ti_id", "task_instance_id", "task_id", "task_display_name", "trigger_id"}
CLOCKED = {"timestamp", "dttm", "updated_at", "last_heartbeat_at", "created_date"}
IGNORED = dict.fromkeys(TABLES, GENERATED | CLOCKED)
# Airflow writes the time of the call there.
IGNORED["task_reschedule"] = IGNORED["task_reschedule"] | {"start_date", "duration"}


def prepare(session: Any) -> None:
    """Write Dags and runs. The rendered fields of the run `old` are no longer kept."""
    put(session, DagBundleModel, name="b", active=True)
    limits = {"max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0, "has_task_concurrency_limits": False}
    put(session, DagModel, dag_id="d", bundle_name="b", owners="me", **limits)
    runs = (
        ("old", "manual", None),
        *((f"r{number}", "scheduled", None) for number in range(31)),
        ("plain", "manual", {}),
        ("conf", "manual", {"a": [1, "é"]}),
        ("backfill", "backfill", None),
        ("asset", "asset_triggered", None),
    )
    for number, (run, kind, conf) in enumerate(runs):
        day = datetime(2026, 1, 1, 0, 0, number, 250, UTC)
        dates = dict.fromkeys(
            ("logical_date", "run_after", "start_date", "data_interval_start", "data_interval_end"), day
        )
        more = {"triggering_user_name": "someone", "partition_key": "p"} if run == "conf" else {}
        put(session, DagRun, dag_id="d", run_id=run, run_type=kind, state="running", conf=conf, **dates, **more)
    put(session, AssetModel, name="a", uri="s3://a", group="asset", extra={})
    put(session, AssetActive, name="a", uri="s3://a")
    put(session, AssetEvent, asset_id=1, extra={}, source_map_index=-1, timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    link = "INSERT INTO dagrun_asset_event (dag_run_id, event_id) SELECT id, 1 FROM dag_run WHERE run_id = 'asset'"
    session.execute(text(link))


def put(session: Any, model: Any, **values: Any) -> None:
    """Insert a row with the defaults of its model."""
    session.execute(insert(model.__table__).values(values))


def make(session: Any, case: Case, task: str) -> str:
    """Insert the task instance of a case and return its id."""
    made = str(uuid.uuid4())
    if "id" in case.row:
        return made
    row = {"map_index": -1, "try_number": 1, "max_tries": 0, "pool": "default_pool", **case.row}
    put(session, TaskInstance, id=made, dag_id="d", task_id=task, run_id=case.run, **row)
    for statement in filter(None, case.before.split(";")):
        session.execute(text(statement), {"id": made})
    return made


def look(session: Any, task: str) -> dict[str, list[dict[str, Any]]]:
    """Return every row of the case without the values that differ between two equal calls."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table in TABLES:
        where = "true" if table in EMPTIED else "task_id = :task"
        sql = f"SELECT to_jsonb(x) FROM {table} x WHERE {where}"
        rows = session.execute(text(sql), {"task": task}).scalars()
        kept = [{key: value for key, value in row.items() if key not in IGNORED[table]} for row in rows]
        found[table] = sorted(kept, key=repr)
    return found


def call(client: TestClient, case: Case, task: str, task_instance: str, asked: list[str]) -> list[Any]:
    """Make the call of a case and return the answers. `asked` gets a word if other calls were needed."""
    subject = case.subject or task_instance
    token = _jwt_generator().generate(extras={"sub": subject, "scope": case.scope})
    headers = {
        "authorization": f"Bearer {token}",
        "airflow-api-version": VERSION,
        "correlation-id": "c",
        **case.headers,
    }
    method, path = METHODS.get(case.call, "PUT"), f"task-instances/{task_instance}/{case.call}"
    if " " in case.call:
        method, _, key = case.call.partition(" ")
        path = f"xcoms/d/{case.run}/{task}/{key}"
    body = {} if method == "GET" else {"json": case.body}
    answers = []
    for _ in range(case.times):
        answer = client.request(method, f"/execution/{path}", headers=headers, **body)
        if case.call == "end" and answer.status_code == NOT_FOUND:
            # Airflow has no such call. A supervisor then makes these.
            asked.append("the usual calls")
            for verb, name, content in (("PUT", "rtif", case.body["fields"]), ("PATCH", "state", case.body["end"])):
                where = f"/execution/task-instances/{task_instance}/{name}"
                answer = client.request(verb, where, headers=headers, json=content)
        kept = {name: answer.headers.get(name) for name in ("content-type", "correlation-id", "airflow-api-version")}
        answers.append(
            {
                "status": answer.status_code,
                "headers": {**kept, "renewed": "refreshed-api-token" in answer.headers},
                "body": json.loads(tidy(answer.text, task, task_instance)) if answer.content else None,
            }
        )
    return answers


def tidy(answer: str, task: str, task_instance: str) -> str:
    """Return an answer without the values that differ between two equal calls."""
    return re.sub(r"look for ID \w+", "look for it", answer.replace(task_instance, "ID").replace(task, "TASK"))


def main() -> None:
    import_all_models()
    Base.metadata.create_all(settings.engine)
    with metadata_db.open_session() as session:
        prepare(session)
    obstacle = execution_api.find_obstacle()
    airflow = create_app(apps="execution")
    asked: list[str] = []
    rows = Rows(metadata_db.connect_prepared)

    def ask(sql: str, words: Any) -> Any:
        row = rows.ask(sql, words)
        asked.append("found" if row else "none")
        return row

    # One thread has one connection, at which the server soon keeps the plans of all statements.
    shortcut = FastPath(airflow, execution_api.Models(), ask, threads=ThreadPoolExecutor(1))
    result: dict[str, Any] = {"obstacle": obstacle, "digest": execution_api.digest_source(), "cases": {}}
    clients = [TestClient(one, raise_server_exceptions=False) for one in (airflow, shortcut)]
    with clients[0] as stock, clients[1] as short:
        for number, case in enumerate(CASES):
            found: dict[str, Any] = {"short": case.short}
            for name, client in (("stock", stock), ("own", short)):
                asked.clear()
                with metadata_db.open_session() as session:
                    for table in EMPTIED:
                        session.execute(text(f"DELETE FROM {table}"))
                    made = make(session, case, f"t{number}{name}")
                answers = call(client, case, f"t{number}{name}", made, asked)
                with metadata_db.open_session() as session:
                    found[name] = {"answers": answers, "rows": look(session, f"t{number}{name}")}
            found["was_short"] = bool(asked) and all(one == "found" for one in asked)
            result["cases"][case.name] = found
    json.dump(result, sys.stdout, default=str)


main()
