"""The audit log in front of Airflow's own applications: every route, and what requests leave behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airfleet_provider.audit.login_limits import ADDRESS_AT_MOST
from airfleet_provider.audit.requests import AuditRules, RequestKind
from airfleet_provider.contract.audit_log import AuditSource
from airflow_programs import run
from audited_site import GUESSES

# The requests that only read although they are no GETs. Whoever adds one here has read its code.
READING = {
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/list"),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list"),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}/dry_run"),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run"),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dry_run"),
    ("POST", "/api/v2/backfills/dry_run"),
}
# The GETs that change something.
PAGES = ("actions", "permissions", "resources", "roles", "users")
CHANGING = {
    *(f"/auth/{page}/{what}" for page in PAGES for what in ("action/<string:name>/<pk>", "delete/<pk>")),
    *("/auth/logout", "/auth/logout/", "/api/v2/auth/logout"),
}
# What a task does for its own run, and what a worker reports of a connection that it tests.
OWN_WORK = tuple(
    f"/execution/{one}/" for one in ("task-instances", "xcoms", "hitlDetails", "store", "connection-tests")
)
SECRETS = {
    "/execution/connections/{connection_id}",
    "/execution/variables/{variable_key:path}",
    "/execution/connection-tests/{connection_test_id}/connection",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("audited_site", tmp_path_factory.mktemp("airflow"))


def test_every_route_is_recorded_or_named_as_reading(site: dict[str, Any]) -> None:
    core = {
        (method, path): AuditRules(AuditSource.API).classify(method, path.replace("{map_index}", "-1"))
        for method, path in site["routes"]["core"]
    }
    assert len(core) > 200
    assert {one for one, kind in core.items() if one[0] != "GET" and kind is RequestKind.READING} == READING
    assert {
        path for (method, path), kind in core.items() if method == "GET" and kind is not RequestKind.READING
    } == CHANGING


def test_every_route_of_tasks_is_recorded_or_is_a_tasks_own_work(site: dict[str, Any]) -> None:
    rules = AuditRules(AuditSource.TASK, are_tasks=True)
    tasks = {(method, path): rules.classify(method, path) for method, path in site["routes"]["execution"]}
    assert len(tasks) > 40
    unrecorded = {path for (method, path), kind in tasks.items() if method != "GET" and kind is RequestKind.READING}
    assert [path for path in unrecorded if not path.startswith(OWN_WORK)] == []
    assert {path for (_, path), kind in tasks.items() if kind is RequestKind.SECRET} == SECRETS


def test_a_change_has_its_user_and_the_hashes_of_what_was_changed(site: dict[str, Any]) -> None:
    _, made, changed, deleted, refused = site["rows"][:5]
    assert [one["actor"] for one in (made, changed, deleted)] == ["admin"] * 3
    assert [one["status"] for one in (made, changed, deleted)] == [201, 200, 204]
    assert ("before" in made, "after" in deleted) == (False, False)
    assert (changed["before"], deleted["before"]) == (made["after"], changed["after"])
    assert (refused.get("actor"), refused["outcome"], refused["status"]) == (None, "refused", 401)


def test_the_login_page_says_who_came_in(site: dict[str, Any]) -> None:
    forms = [one for one in site["rows"] if one["action"] == "POST /auth/login/"]
    assert [(one["actor"], one["outcome"]) for one in forms] == [("admin", "refused"), ("admin", "done")]


def test_guesses_end_at_the_limit(site: dict[str, Any]) -> None:
    guesses = [one for one in site["rows"] if one.get("actor") == "eve"]
    assert [one["status"] for one in guesses] == [*[401] * ADDRESS_AT_MOST, *[429] * (GUESSES - ADDRESS_AT_MOST)]


def test_a_secret_that_a_task_reads_has_one_row(site: dict[str, Any]) -> None:
    assert site["statuses"][-4:-1] == [200, 200, 201]
    assert site["statuses"][-1] in (401, 403)
    tasks = [one for one in site["rows"] if one["source"] == "task"]
    assert [(one["action"], one["outcome"]) for one in tasks] == [
        ("GET /execution/connections/crm", "done"),
        ("PUT /execution/variables/v", "done"),
        ("GET /execution/connections/crm", "refused"),
    ]
    assert tasks[0]["actor"].startswith("task instance ")


def test_no_row_holds_a_secret_and_no_intent_is_left(site: dict[str, Any]) -> None:
    text = json.dumps(site["rows"])
    assert ("secret words" in text, "wrong" in text, "guess" in text) == (False, False, False)
    assert site["intents"] == 0
