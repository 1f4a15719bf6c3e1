"""Every command and route of Airflow that removes or overwrites data, on live Dags that have not changed for a year."""

from __future__ import annotations

# ruff: noqa: S608 - constants
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from airfleet.errors import UsageError
from airfleet.operations import refusals
from deadline import wait_until
from destructive import read_tables
from shops import FERNET_KEY, Shop

pytestmark = pytest.mark.local

COMMANDS, ROUTES = read_tables()
# What only adds, shows, or changes nothing that was there but a switch that can be set back.
HARMLESS = frozenset(
    {
        *("assets details", "assets list", "assets materialize", "backfill create", "celery list-workers"),
        *("cheat-sheet", "config get-value", "config lint", "config list", "info", "jobs check", "plugins", "version"),
        *("connections add", "connections create-default-connections", "connections export", "connections get"),
        *("connections list", "connections test", "db check", "db check-migrations"),
        *("dags details", "dags list", "dags list-import-errors", "dags list-jobs", "dags list-runs"),
        *("dags next-execution", "dags pause", "dags report", "dags show", "dags show-dependencies", "dags state"),
        *("dags trigger", "dags unpause"),
        *("pools export", "pools get", "pools list", "roles add-perms", "roles create", "roles export", "roles list"),
        *("tasks failed-deps", "tasks list", "tasks render", "tasks state", "tasks states-for-dag-run"),
        *("teams create", "teams list", "users add-role", "users create", "users export", "users list"),
        *("variables export", "variables get", "variables list"),
    }
)
HARMLESS_GROUPS = ("providers",)
# Routes that only read, add, or set what can be set back.
HARMLESS_ROUTES = frozenset(
    {
        "POST /ui/auth/token",
        *("POST /api/v2/assets/events", "POST /api/v2/assets/{asset_id}/materialize"),
        *("PUT /api/v2/backfills/{backfill_id}/pause", "PUT /api/v2/backfills/{backfill_id}/unpause"),
        *("POST /api/v2/backfills", "POST /api/v2/backfills/dry_run", "POST /api/v2/connections"),
        *("PATCH /api/v2/connections/{connection_id}", "POST /api/v2/connections/test"),
        *("POST /api/v2/connections/enqueue-test", "POST /api/v2/connections/defaults"),
        *("PATCH /api/v2/dags/{dag_id}", "PATCH /api/v2/dags", "POST /api/v2/dags/{dag_id}/favorite"),
        *("POST /api/v2/dags/{dag_id}/unfavorite", "POST /api/v2/dags/{dag_id}/dagRuns"),
        *("POST /api/v2/dags/{dag_id}/dagRuns/list", "PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"),
        *("PATCH /api/v2/pools/{pool_name:path}", "POST /api/v2/pools", "POST /api/v2/variables"),
        *("PATCH /api/v2/variables/{variable_key:path}", "PUT /api/v2/parseDagFile/{file_token}"),
    }
)
HARMLESS_OF_TASKS = frozenset(
    {
        *("POST …/taskInstances/list", "POST …/taskInstances/{task_id}/xcomEntries"),
        *("PATCH …/taskGroupInstances/{group_id}", "PATCH …/taskGroupInstances/{group_id}/dry_run"),
        *("PATCH …/taskInstances/{task_id}", "PATCH …/taskInstances/{task_id}/{map_index}"),
        *("PATCH …/taskInstances/{task_id}/dry_run", "PATCH …/taskInstances/{task_id}/{map_index}/dry_run"),
        "PATCH …/taskInstances/{task_id}/{map_index}/hitlDetails",
    }
)
OF_A_RUN = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"

LIST = """
import argparse, json
from airflow.api_fastapi.app import create_app
from airflow.cli.cli_parser import get_parser

def walk(parser, words):
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield " ".join(words)
    for group in groups:
        for name, child in group.choices.items():
            yield from walk(child, [*words, name])

routes = [
    f"{method} {one.path}" for one in create_app().routes for method in sorted(getattr(one, "methods", None) or ())
    if method not in ("GET", "HEAD", "OPTIONS")
]
print("FOUND" + json.dumps([list(walk(get_parser(), [])), routes]))
"""
# Each command in a child of one process that has imported what the image of one machine has, as `airfleet airflow` runs
# it there; each request against one app.
WALK = """
import json, os, sys
from airflow.__main__ import main

orders = json.load(sys.stdin)
said = []
import airflow.settings
from airfleet.components.image import MODULES
from airfleet_provider.processes.fork_server import import_modules
import_modules(MODULES)
airflow.settings.dispose_orm(do_log=False)
for words in orders["commands"]:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.dup2(2, 1)
        airflow.settings.initialize()
        sys.argv = ["airflow", *words]
        code = 1
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else bool(end.code)
        except BaseException as error:
            print("raised", repr(error), file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code or 0)
    said.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
answers = []
if orders["requests"]:
    from starlette.testclient import TestClient
    from airflow.api_fastapi.app import create_app
    airflow.settings.initialize()
    client = TestClient(create_app(), raise_server_exceptions=False)
    with client:
        token = client.get("/auth/token").json()["access_token"]
        for method, path, body in orders["requests"]:
            answer = client.request(method, path, json=body, headers={"Authorization": "Bearer " + token})
            answers.append([answer.status_code, answer.text[:300]])
print("SAID" + json.dumps([said, answers]))
"""
FAB = {"AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"}
ALL_ADMINS = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True"}


def is_refused(command: str) -> bool:
    try:
        refusals.check([*command.split(), "word"], fleet=True)
    except UsageError:
        return True
    return False


def run(shop: Shop, script: str, orders: object = None, **environment: str) -> tuple[list[Any], list[Any]]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**shop.database.environment, **environment},
        cwd=shop.database.folder,
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FOUND", "SAID"))]
    assert lines, done.stderr[-3000:]
    first, second = json.loads(lines[-1].removeprefix("FOUND").removeprefix("SAID"))
    print(done.stderr[-4000:])
    return first, second


def name_bundle(shop: Shop) -> dict[str, str]:
    """Return the environment with the shop's bundle, and with what its Dag files need when a command loads them."""
    classpath = "airfleet_provider.bundles.release_bundle.ReleaseBundle"
    bundle = {"name": shop.name, "classpath": classpath, "kwargs": {}}
    setting = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle])}
    return {**setting, "EXECUTIONS": str(shop.executions)}


def age_a_year(shop: Shop) -> None:
    year = "interval '1 year'"
    shop.database.query(f"UPDATE dag SET last_parsed_time = now() - {year} WHERE bundle_name = %s", shop.name)
    shop.database.query(
        f"UPDATE dag_version SET created_at = now() - {year}, last_updated = now() - {year} WHERE bundle_name = %s",
        shop.name,
    )


def add_run(shop: Shop, dag: str, *, state: str = "success", deferred: bool = False, days: int = 300) -> str:
    """Add a run as Airflow leaves it, with two task instances, an XCom, and a task that waits for a trigger."""
    name, query = f"{shop.name}_{dag}", shop.database.query
    run_id = f"old_{uuid.uuid4().hex[:8]}"
    version = query("SELECT id FROM dag_version WHERE dag_id = %s LIMIT 1", name)[0][0]
    number = query(
        "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, logical_date, state, start_date, end_date, conf,"
        " created_dag_version_id) VALUES (%s, %s, 'scheduled', now() - make_interval(days => %s),"
        " now() - make_interval(days => %s), %s, now() - make_interval(days => %s),"
        " now() - make_interval(days => %s), '{}', %s) RETURNING id",
        *(name, run_id, days, days, state, days, days, version),
    )[0][0]
    for task in ("first", "last"):
        trigger = None
        if deferred:
            trigger = query(
                "INSERT INTO trigger (classpath, kwargs, created_date)"
                " VALUES ('a.B', %s, now() - interval '300 days') RETURNING id",
                Fernet(FERNET_KEY).encrypt(b"{}").decode(),
            )[0][0]
        query(
            "INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, try_number, max_tries, pool,"
            " pool_slots, state, dag_version_id, trigger_id, start_date, end_date, operator, queue)"
            " VALUES (%s, %s, %s, %s, -1, 1, 0, 'default_pool', 1, %s, %s, %s, now() - interval '300 days',"
            " now() - interval '300 days', 'EmptyOperator', 'default')",
            *(uuid.uuid4(), task, name, run_id, "deferred" if deferred else state, version, trigger),
        )
        query(
            "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
            " VALUES (%s, %s, -1, 'return_value', %s, %s, '1', now() - interval '300 days')",
            *(number, task, name, run_id),
        )
    return run_id


def live(shop: Shop, *, without: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """Return the Dags that are live in Airflow's tables, with their versions and their serialised form."""
    versions = {name: row for name, row in shop.versions().items() if name != without}
    hashes = {name: row for name, row in shop.hashes().items() if name != without}
    assert not [name for name, row in versions.items() if row[1]], "stale"
    return versions, hashes


def test_every_command_and_route_is_known(kiosk: Shop) -> None:
    commands, routes = run(kiosk, LIST)
    leaves = {one for one in commands if one.split()[0] not in HARMLESS_GROUPS}
    unknown = {one for one in leaves - COMMANDS.keys() - HARMLESS if not is_refused(one)}
    assert not unknown, "say in docs/reference/destructive-commands.md what these remove, or call them harmless here"
    assert not COMMANDS.keys() - leaves, "the page names commands that Airflow does not have"
    of_tasks = {one.replace("…", OF_A_RUN) for one in HARMLESS_OF_TASKS}
    assert not set(routes) - ROUTES.keys() - HARMLESS_ROUTES - of_tasks, "as above, for routes"
    assert not (ROUTES.keys() | HARMLESS_ROUTES | of_tasks) - set(routes)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_says_what_is_refused(command: str) -> None:
    assert is_refused(command) == (COMMANDS[command] == "refused")


def test_no_command_takes_a_live_dag_for_an_old_one(kiosk: Shop, tmp_path: Path) -> None:
    kiosk.deploy(kiosk.build())
    kiosk.kill()
    old, dag = add_run(kiosk, "d00", days=301), f"{kiosk.name}_d00"
    add_run(kiosk, "d00")  # the last one, which `db clean` keeps
    waiting = [add_run(kiosk, "d01", state="running", deferred=True, days=days) for days in (310, 309)]
    age_a_year(kiosk)
    before = live(kiosk)
    names = tmp_path / "names.json"
    names.write_text("{}")
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    # Users and roles first, as their commands need another auth manager.
    access = [
        ["users", "create", "-u", "ann", "-r", "Viewer", "-e", "a@b.c", "-f", "A", "-l", "N", "-p", "secret-of-ann"],
        ["roles", "create", "Odd"],
        ["users", "remove-role", "-u", "ann", "-r", "Viewer"],
        ["users", "reset-password", "-u", "ann", "-p", "another-secret"],
        ["users", "import", str(empty)],
        ["users", "delete", "-u", "ann"],
        ["roles", "import", str(empty)],
        ["roles", "del-perms", "Odd", "-a", "can_read", "-r", "DAGs"],
        ["roles", "delete", "Odd"],
        ["permissions-cleanup", "--yes"],
        ["sync-perm"],
    ]
    codes, _ = run(kiosk, WALK, {"commands": access, "requests": []}, **FAB)
    assert dict(zip([" ".join(one[:2]) for one in access], codes, strict=True)) == {
        " ".join(one[:2]): 0 for one in access
    }
    assert live(kiosk) == before

    others = [
        ["db", "clean", "--clean-before-timestamp", "2999-01-01", "--yes", "--error-on-cleanup-failure"],
        ["db", "export-archived", "--output-path", str(tmp_path), "--drop-archives", "--yes"],
        ["db", "drop-archived", "--yes"],
        ["dags", "reserialize"],
        ["tasks", "clear", dag, "--yes"],
        ["state-store", "clean"],
        ["variables", "set", "odd", "1"],
        ["variables", "import", str(names)],
        ["variables", "delete", "odd"],
        ["connections", "add", "odd", "--conn-type", "http"],
        ["connections", "import", str(names), "--overwrite"],
        ["connections", "delete", "odd"],
        ["pools", "set", "odd", "1", "odd"],
        ["pools", "import", str(names)],
        ["pools", "delete", "odd"],
        ["teams", "create", "odd"],
        ["teams", "delete", "odd", "--yes"],
        ["rotate-fernet-key"],
    ]
    codes, _ = run(kiosk, WALK, {"commands": others, "requests": []}, **name_bundle(kiosk))
    assert dict(zip(map(str, others), codes, strict=True)) == {str(one): 0 for one in others}
    assert live(kiosk) == before
    runs = {row[0] for row in kiosk.database.query("SELECT run_id FROM dag_run WHERE dag_id LIKE %s", f"{kiosk.name}%")}
    assert old not in runs, "what is old and finished goes"
    assert set(waiting) < runs
    waits = "SELECT state FROM task_instance WHERE run_id = ANY(%s)"
    assert kiosk.database.query(waits, waiting) == [("deferred",)] * 4, "a task that waits for its trigger stays"
    assert len(kiosk.database.query("SELECT 1 FROM xcom WHERE run_id = ANY(%s)", waiting)) == 4


def test_no_route_takes_a_live_dag_for_an_old_one_and_a_deleted_one_returns(kiosk: Shop) -> None:
    kiosk.deploy(kiosk.build())
    kiosk.kill()
    first, second, third = (add_run(kiosk, "d00", days=days) for days in (303, 302, 301))
    age_a_year(kiosk)
    before = live(kiosk)
    dag = f"/api/v2/dags/{kiosk.name}_d00"
    task = f"{dag}/dagRuns/{first}/taskInstances/first"
    requests: list[tuple[str, str, object]] = [
        ("PATCH", f"{task}/xcomEntries/return_value", {"value": 2}),
        ("DELETE", f"{task}/xcomEntries/return_value", None),
        ("PUT", f"{task}/state-store/odd", {"value": "1"}),
        ("PATCH", f"{task}/state-store/odd", {"value": "2"}),
        ("DELETE", f"{task}/state-store/odd", None),
        ("DELETE", f"{task}/state-store", None),
        ("POST", f"{dag}/clearTaskInstances", {"dry_run": False, "only_failed": False, "dag_run_id": first}),
        ("POST", f"{dag}/dagRuns/{second}/clear", {"dry_run": False}),
        ("DELETE", task, None),
        ("DELETE", f"{dag}/dagRuns/{second}", None),
        ("PATCH", f"{dag}/dagRuns", {"actions": [{"action": "delete", "entities": [{"dag_run_id": third}]}]}),
    ]
    _, answers = run(kiosk, WALK, {"commands": [], "requests": requests}, **ALL_ADMINS, **name_bundle(kiosk))
    assert [answer for answer in answers if answer[0] not in (200, 201, 204)] == []
    assert live(kiosk) == before

    deletions = {"commands": [["dags", "delete", f"{kiosk.name}_d01", "--yes"]], "requests": [("DELETE", dag, None)]}
    codes, answers = run(kiosk, WALK, deletions, **ALL_ADMINS, **name_bundle(kiosk))
    assert (codes, [code for code, _ in answers]) == ([0], [204]), answers
    assert live(kiosk) == tuple({"d02": part["d02"]} for part in before)
    kiosk.start()
    wait_until(lambda: kiosk.hashes() == before[1], "the deleted Dags")
    assert {name: row[0] for name, row in kiosk.versions().items()} == {name: row[0] for name, row in before[0].items()}
