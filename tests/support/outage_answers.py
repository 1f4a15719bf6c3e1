"""Prints what an api-server answers without its database, and the results of a task's lookups, as JSON.

outage_answers.py       with AIRFLOW__DATABASE__SQL_ALCHEMY_CONN set to an empty PostgreSQL database

Prints `ready` when the database is to be stopped or started, and continues when a line arrives on stdin.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - Airflow has no types
import json
import os
import sys
import uuid
from dataclasses import replace
from typing import Any

os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"

from airflow import settings
from airflow.api_fastapi.app import create_app
from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI, _jwt_generator
from airflow.models import Connection, DagModel, DagRun, TaskInstance, Variable, import_all_models
from airflow.models.base import Base
from airflow.models.dagbundle import DagBundleModel
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.auth_manager.models import User
from airflow.utils.session import create_session
from sqlalchemy import insert, text
from starlette.testclient import TestClient

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.compat.patches import outages
from airfleet_provider.contract.migrations import runner
from airfleet_provider.execution_api.command import wrap
from deadline import wait_until

assert User
HEADERS = {"airflow-api-version": "2026-06-30"}
KEYS = ("known", "unknown")
BOSS = {"username": "boss", "password": "right"}


def prepare() -> str:
    """A user, a variable, a connection, a task that runs with an XCom; its id."""
    import_all_models()
    Base.metadata.create_all(settings.engine)
    runner.migrate(runner.execute_on(metadata_db.connect()), runner.read_own())
    with get_application_builder() as builder:
        manager = builder.sm
        manager.sync_roles()
        manager.add_user("boss", "B", "B", "b@example.org", manager.find_role("Admin"), password="right")
    made = str(uuid.uuid4())
    with create_session() as session:
        session.add(Variable(key="known", val="v"))
        session.add(Connection(conn_id="known", conn_type="http", host="h"))
        session.execute(insert(DagBundleModel.__table__).values(name="b", active=True))
        limits = {"max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0, "has_task_concurrency_limits": False}
        session.execute(insert(DagModel.__table__).values(dag_id="d", bundle_name="b", owners="me", **limits))
        run = {"dag_id": "d", "run_id": "r", "run_type": "manual", "state": "running"}
        session.execute(insert(DagRun.__table__).values(run_after=text("now()"), **run))
        task = {"map_index": -1, "try_number": 1, "pool": "default_pool", "hostname": "h", "pid": 1}
        session.execute(
            insert(TaskInstance.__table__).values(
                id=made, dag_id="d", run_id="r", task_id="t", state="running", start_date=text("now()"), **task
            )
        )
        session.execute(
            text(
                "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, dag_result, timestamp)"
                " SELECT id, 't', -1, 'k', 'd', 'r', '1', false, now() FROM dag_run"
            )
        )
    return made


def look(execution: TestClient, core: TestClient, token: dict[str, str], user: dict[str, str]) -> dict[str, Any]:
    """The status of every kind of call."""
    calls = {
        **{f"variable {key}": f"variables/{key}" for key in KEYS},
        **{f"connection {key}": f"connections/{key}" for key in KEYS},
        "xcom": "xcoms/d/r/t/k",
        "xcom that is not there": "xcoms/d/r/t/other",
        "state of a run": "dag-runs/d/r/state",
    }
    found: dict[str, Any] = {
        name: execution.get(f"/execution/{path}", headers={**HEADERS, **token}).status_code
        for name, path in calls.items()
    }
    for password in ("right", "wrong"):
        body = {**BOSS, "password": password}
        found[f"token for the {password} password"] = core.post("/auth/token", json=body).status_code
    found["login form"] = core.post("/auth/login/", data=BOSS, follow_redirects=False).status_code
    for path in ("variables/known", "variables/unknown", "connections/unknown", "dags/other", "dags/d/dagRuns/r"):
        found[f"REST {path}"] = core.get(f"/api/v2/{path}", headers=user).status_code
    found["REST without a token"] = core.get("/api/v2/dags").status_code
    return found


def look_inside() -> dict[str, Any]:
    """What code of this very process is told: as in callbacks, triggers and the scheduler."""
    from airflow.sdk import Connection as TaskConnection  # noqa: PLC0415
    from airflow.sdk import Variable as TaskVariable  # noqa: PLC0415

    def say(call: Any) -> str:
        try:
            return repr(call())
        except Exception as error:
            return type(error).__name__

    found = {}
    for key in KEYS:
        found[f"models.Variable.get {key}"] = say(lambda key=key: Variable.get(key))
        found[f"models.Variable.get {key} or a default"] = say(lambda key=key: Variable.get(key, "default"))
        found[f"models.Connection.get {key}"] = say(lambda key=key: Connection.get_connection_from_secrets(key).host)
        found[f"sdk.Variable.get {key} or a default"] = say(lambda key=key: TaskVariable.get(key, default="default"))
        found[f"sdk.Connection.get {key}"] = say(lambda key=key: TaskConnection.get(key).host)
    return found


def end_without_a_connection(execution: TestClient, task: str, token: dict[str, str]) -> dict[str, Any]:
    """A task reports success while the connection of the api-server ends, and the database is back at once."""
    register = TaskInstance.register_asset_changes_in_db

    def lose(*_: Any, session: Any, **__: Any) -> Any:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    TaskInstance.register_asset_changes_in_db = lose
    outlets = [{"name": "a", "uri": "s3://a", "type": "Asset"}]
    body = {"state": "success", "end_date": "2026-01-01T10:00:09Z", "task_outlets": outlets, "outlet_events": []}
    path, said = f"/execution/task-instances/{task}/state", {}
    said["lost"] = execution.patch(path, json=body, headers={**HEADERS, **token}).status_code
    TaskInstance.register_asset_changes_in_db = register
    with create_session() as session:
        said["state"] = session.scalar(text("SELECT state FROM task_instance WHERE id = :id"), {"id": task})
    return said


def find_dead() -> dict[str, int]:
    """How many tasks a scheduler finds that it was told are dead, and of those that spoke meanwhile."""
    with create_session() as session:
        session.execute(text("UPDATE task_instance SET queued_by_job_id = 7, last_heartbeat_at = now()"))
    beats = outages._read_beats(7)
    moved = {task: replace(beat, stamp="an earlier one") for task, beat in beats.items()}
    with create_session() as session:
        return {
            "running": len(beats),
            "of another scheduler": len(outages._read_beats(8)),
            "dead": len(outages._load(session, beats)),
            "spoke meanwhile": len(outages._load(session, moved)),
        }


def look_up(execution: TestClient, token: str) -> int:
    headers = {**HEADERS, "authorization": f"Bearer {token}"}
    return int(execution.get("/execution/variables/known", headers=headers).status_code)


def main() -> None:
    task = prepare()
    token = _jwt_generator().generate(extras={"sub": task, "scope": "execution"})
    apps = wrap(create_app(apps="execution")), create_app(apps="core")
    execution, core = (TestClient(one, raise_server_exceptions=False) for one in apps)
    in_process = TestClient(InProcessExecutionAPI().app, raise_server_exceptions=False)
    with execution, core, in_process:
        user = {"authorization": f"Bearer {core.post('/auth/token', json=BOSS).json()['access_token']}"}
        said: dict[str, dict[str, Any]] = {}
        for when in ("before", "away", "after"):
            if when != "before":
                print("ready", flush=True)
                sys.stdin.readline()
            if when == "after":
                # That the lists of fleet.yaml could not be read is kept for some seconds.
                wait_until(lambda: look_up(execution, token) == 200, "the lists of fleet.yaml")
            own = {
                f"in-process {kind}/{key}": in_process.get(f"/{kind}/{key}", headers=HEADERS).status_code
                for kind in ("variables", "connections")
                for key in KEYS
            }
            answers = look(execution, core, {"authorization": f"Bearer {token}"}, user)
            said[when] = {"answers": {**answers, **own}, "inside": look_inside()}
        said["end"] = end_without_a_connection(execution, task, {"authorization": f"Bearer {token}"})
        tasks = find_dead()
    print(json.dumps(said | {"tasks": tasks}), flush=True)


main()
