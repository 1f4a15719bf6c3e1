"""A program: tasks of two teams ask the execution API for what lists of fleet.yaml name; prints the answers as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

LISTS = {
    "connections": {"sales_*": {"dags": ["tag:b"], "triggers": False}},
    "variables": {"sales_key": {"dags": ["file:team_b/*"], "triggers": False}},
    "xcoms": {"team_b_*": {"dags": ["reader"], "triggers": False}},
}
# By Dag, its file and its tag.
DAGS = {"team_a_1": ("team_a/one.py", "a"), "team_b_1": ("team_b/one.py", "b"), "reader": ("read.py", "a")}
XCOM = "/execution/xcoms/team_b_1/run/work/k"
# What is asked, by a name for the answer.
CALLS: dict[str, tuple[str, str]] = {
    "connection": ("GET", "/execution/connections/sales_db"),
    "connection in the environment, in upper case": ("GET", "/execution/connections/SALES_ENV"),
    "connection in the environment, in mixed case": ("GET", "/execution/connections/Sales_Env"),
    "connection with a query": ("GET", "/execution/connections/sales_env%3Fx"),
    "other connection": ("GET", "/execution/connections/free"),
    "variable": ("GET", "/execution/variables/sales_key"),
    "variable by a path": ("GET", "/execution/variables/x/%2e%2e/sales_key"),
    "variable by a coded path": ("GET", "/execution/variables/%2573ales_key"),
    "other variable": ("GET", "/execution/variables/free"),
    "variable written": ("PUT", "/execution/variables/sales_key"),
    "variable deleted": ("DELETE", "/execution/variables/sales_key"),
    "xcom": ("GET", XCOM),
    "xcom by index": ("GET", f"{XCOM}/item/0"),
    "xcom by slice": ("GET", f"{XCOM}/slice"),
    "xcoms counted": ("HEAD", XCOM),
    "xcom of earlier runs": ("GET", f"{XCOM}?include_prior_dates=true"),
    "xcom written": ("POST", XCOM),
    "xcom deleted": ("DELETE", XCOM),
    "xcom of an unknown dag": ("GET", "/execution/xcoms/gone/run/work/k"),
    "own xcom": ("GET", "/execution/xcoms/{dag}/run/work/k"),
}


def put(session: Any, model: Any, **values: Any) -> None:  # noqa: ANN401 - Airflow's session, models and columns
    """Insert a row with the defaults of its model."""
    from sqlalchemy import insert  # noqa: PLC0415

    session.execute(insert(model.__table__).values(values))


def prepare(session: Any) -> dict[str, str]:  # noqa: ANN401 - as above
    """Write Dags, runs, tasks and secrets, and return the task instance of each Dag."""
    from airflow.models import Connection, DagModel, DagRun, DagTag, TaskInstance, Variable  # noqa: PLC0415
    from airflow.models.dagbundle import DagBundleModel  # noqa: PLC0415
    from airflow.models.xcom import XComModel  # noqa: PLC0415

    put(session, DagBundleModel, name="dags", active=True)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    made = {}
    for number, (dag, (file, tag)) in enumerate(DAGS.items(), 1):
        limits = {"max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0, "has_task_concurrency_limits": False}
        put(session, DagModel, dag_id=dag, bundle_name="dags", relative_fileloc=file, **limits)
        put(session, DagTag, dag_id=dag, name=tag)
        put(session, DagRun, dag_id=dag, run_id="run", run_type="manual", state="running", run_after=day)
        made[dag] = str(uuid.uuid4())
        row = {"map_index": -1, "try_number": 1, "max_tries": 0, "pool": "default_pool", "state": "running"}
        put(session, TaskInstance, id=made[dag], dag_id=dag, task_id="work", run_id="run", **row)
        of_task = {"dag_id": dag, "run_id": "run", "task_id": "work", "dag_run_id": number}
        put(session, XComModel, key="k", value="secret words", **of_task)
    for name in ("sales_db", "free"):
        session.add(Connection(conn_id=name, conn_type="http", password="secret words"))
    for name in ("sales_key", "free"):
        session.add(Variable(key=name, val="secret words"))
    return made


def main() -> None:
    """Print the status of each call for each Dag, an answer in full, the refused rows, and what a call costs."""
    from airflow.utils import db  # noqa: PLC0415

    os.environ["AIRFLOW_CONN_SALES_ENV"] = "http://:secret@host"
    db.initdb()
    from airflow.api_fastapi.app import create_app  # noqa: PLC0415
    from starlette.testclient import TestClient  # noqa: PLC0415

    from airfleet_provider.compat.calls import execution_api, metadata_db  # noqa: PLC0415
    from airfleet_provider.contract import access_store, audit_store  # noqa: PLC0415
    from airfleet_provider.contract.access_rules import AccessRules  # noqa: PLC0415
    from airfleet_provider.contract.migrations import runner  # noqa: PLC0415
    from airfleet_provider.contract.task_lists import TaskLists  # noqa: PLC0415
    from airfleet_provider.execution_api import command  # noqa: PLC0415

    connection = metadata_db.connect()
    runner.migrate(runner.execute_on(connection), runner.read_own())
    with metadata_db.open_session() as session:
        instances = prepare(session)
    models = execution_api.Models()

    def serve(lists: TaskLists) -> Any:  # noqa: ANN401 - an ASGI application
        with connection.cursor() as cursor:
            access_store.write(cursor.execute, AccessRules(), lists, {})
        return command.wrap(create_app(apps="execution"))

    def ask(client: TestClient, dag: str, method: str, path: str, version: str = models.version) -> Any:  # noqa: ANN401
        headers = {"Authorization": f"Bearer {models.sign(instances[dag])}", "airflow-api-version": version}
        body = {"PUT": {"val": "mine"}, "POST": "mine"}.get(method)
        return client.request(method, path.replace("{dag}", dag), headers=headers, json=body)

    lists = TaskLists.from_text(json.dumps(LISTS))
    found: dict[str, Any] = {}
    with TestClient(serve(lists)) as client:
        for dag in ("team_a_1", "reader", "team_b_1"):
            found[dag] = {name: ask(client, dag, *one).status_code for name, one in CALLS.items()}
        found["older"] = ask(client, "team_a_1", *CALLS["connection"], "2025-04-28").status_code
        found["said"] = [ask(client, "team_a_1", *CALLS[one]).json() for one in ("connection", "xcom")]
        stranger = str(uuid.uuid4())
        headers = {"Authorization": f"Bearer {models.sign(stranger)}", "airflow-api-version": models.version}
        found["gone"] = client.get(CALLS["connection"][1], headers=headers).status_code
    if "cost" in sys.argv:
        for name, these in (("none", TaskLists()), ("lists", lists)):
            with TestClient(serve(these)) as client:
                found[f"cost {name}"] = {
                    one: measure(lambda one=one: ask(client, "team_b_1", *CALLS[one]))
                    for one in ("other connection", "connection", "own xcom")
                }
    with connection.cursor() as cursor:
        cursor.execute(audit_store.find_all(), {"until": None})
        found["rows"] = [json.loads(row[3]) for row in cursor.fetchall()]
    print(json.dumps(found))


def measure(call: Any) -> float:  # noqa: ANN401 - a function without arguments
    """Return the median of the milliseconds of a call."""
    taken = []
    for _ in range(200):
        began = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - began))
    return round(sorted(taken)[100], 2)


if __name__ == "__main__":
    main()
