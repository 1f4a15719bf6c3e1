"""`access` of fleet.yaml on a real platform: what users of two teams see and may do, through real requests."""

from __future__ import annotations

import functools
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from airfleet_provider.contract.access_plan import DesiredAccess, DesiredUser
from airfleet_provider.contract.access_rules import AccessRules, RoleRules
from airfleet_provider.contract.locks import ACCESS_LOCK
from deadline import PATIENCE_S, wait_until
from fleets import ANNS, Platform

pytestmark = [pytest.mark.local]

# What the platform's fleet.yaml says, without the passwords: no new password is set.
USERS = (
    DesiredUser("ann", "ann@example.com", frozenset({"team-a"})),
    DesiredUser("bob", "bob@example.com", frozenset({"team-b"})),
)
RULES = {"team-a": RoleRules(("tag:team-a",), ("quick",)), "team-b": RoleRules(("re*",))}
# Every Dag that is not of team A. `quick` is that of team A, and `reads` is that of team B.
OTHERS = ("reads", "slow")


@pytest.fixture
def sign_in(platform: Platform) -> Iterator[Callable[[str, str], httpx.Client]]:
    with ExitStack() as stack:

        def enter(user: str, password: str) -> httpx.Client:
            answer = platform.log_in(password, user)
            assert answer.status_code == 201, answer.text
            client = httpx.Client(base_url=f"http://127.0.0.1:{platform.port}", timeout=PATIENCE_S, trust_env=False)
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            return stack.enter_context(client)

        yield enter


@pytest.fixture
def ann(sign_in: Callable[[str, str], httpx.Client]) -> httpx.Client:
    return sign_in("ann", ANNS)


@pytest.fixture
def bob(platform: Platform, sign_in: Callable[[str, str], httpx.Client]) -> httpx.Client:
    return sign_in("bob", (platform.state.secrets / "user_bob").read_text())


@pytest.fixture
def database(platform: Platform) -> Iterator[psycopg.Connection[Any]]:
    dsn = platform.state.read_dsn()
    assert dsn is not None
    with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
        yield connection


@dataclass(frozen=True)
class Governor:
    """Applies other access than that of fleet.yaml, by the command that the job of the platform runs."""

    platform: Platform
    folder: Path

    def begin(self, desired: DesiredAccess) -> subprocess.Popen[str]:
        path = self.folder / f"{secrets.token_hex(4)}.json"
        path.write_text(desired.to_text())
        environment = {**os.environ, "AIRFLOW_HOME": str(self.platform.state.root / "airflow")}
        words = [sys.executable, "-m", "airflow", "airfleet", "access", "--file", str(path)]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def apply(self, desired: DesiredAccess) -> str:
        """Return what the command printed."""
        process = self.begin(desired)
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
        return said


@pytest.fixture
def governor(platform: Platform, tmp_path: Path) -> Iterator[Governor]:
    """Fleet.yaml's access is back at the end."""
    found = Governor(platform, tmp_path)
    yield found
    found.apply(DesiredAccess(USERS, AccessRules(RULES), prune=True))


def list_ids(client: httpx.Client, path: str, key: str) -> set[str]:
    answer = client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
    return {one["dag_id"] for one in answer.json()[key]}


def test_a_user_of_team_a_sees_nothing_of_team_b(platform: Platform, ann: httpx.Client, bob: httpx.Client) -> None:
    assert platform.succeeds("quick")
    assert platform.succeeds("reads")
    for client, own in ((ann, "quick"), (bob, "reads")):
        lists = {
            "/api/v2/dags": "dags",
            "/api/v2/dags/~/dagRuns": "dag_runs",
            "/api/v2/dags/~/dagRuns/~/taskInstances": "task_instances",
            "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries": "xcom_entries",
            "/ui/dags": "dags",
        }
        for path, key in lists.items():
            expected = {own} if key != "xcom_entries" or own == "quick" else set()
            assert list_ids(client, path, key) == expected, path
        answer = client.post("/api/v2/dags/~/dagRuns/~/taskInstances/list", json={})
        assert {one["dag_id"] for one in answer.json()["task_instances"]} == {own}
        answer = client.post("/api/v2/dags/~/dagRuns/list", json={})
        assert {one["dag_id"] for one in answer.json()["dag_runs"]} == {own}
    run = platform.call("GET", "/dags/reads/dagRuns")["dag_runs"][0]["dag_run_id"]
    task = f"/api/v2/dags/reads/dagRuns/{run}/taskInstances/work"
    for path in (
        *("/api/v2/dags/reads", "/api/v2/dags/reads/details", "/api/v2/dagSources/reads", "/api/v2/dags/reads/tasks"),
        *("/api/v2/dags/reads/dagRuns", f"/api/v2/dags/reads/dagRuns/{run}", task, f"{task}/logs/1", f"{task}/tries"),
        *(f"{task}/xcomEntries", f"{task}/xcomEntries/return_value", "/api/v2/dags/reads/dagVersions"),
        *(
            "/ui/grid/runs/reads",
            "/ui/structure/structure_data?dag_id=reads",
            f"/airfleet/api/explain?dag=reads&run={run}",
        ),
        *("/api/v2/connections", "/api/v2/connections/crm", "/api/v2/variables", "/api/v2/variables/limits"),
        *("/api/v2/eventLogs", "/api/v2/importErrors", "/api/v2/assets", "/api/v2/jobs", "/api/v2/config"),
        *("/auth/fab/v1/users", "/auth/fab/v1/roles"),
    ):
        assert ann.get(path).status_code in (403, 404), f"{path}: {ann.get(path).status_code}"
    # Whatever Airflow shows of one Dag, also in a version that adds a route.
    values = {"{dag_id}": "reads", "{dag_run_id}": run, "{run_id}": run, "{task_id}": "work", "{map_index}": "-1"}
    values |= {"{try_number}": "1", "{task_try_number}": "1", "{xcom_key}": "return_value", "{version_number}": "1"}
    routes = [
        path for path, one in ann.get("/openapi.json").json()["paths"].items() if "get" in one and "{dag_id}" in path
    ]
    assert len(routes) > 20
    for route in routes:
        path = functools.reduce(lambda shown, name: shown.replace(name, values[name]), values, route)
        assert ann.get(path).status_code in (403, 404, 422), path
    for pages in ("/api/v2/dagTags", "/ui/dependencies", "/api/v2/dagStats", "/api/v2/dagWarnings"):
        text = ann.get(pages).text
        assert not [dag for dag in OTHERS if f'"{dag}"' in text], f"{pages}: {text}"


def test_a_rule_to_read_lets_nobody_change_and_a_rule_to_edit_deletes_no_dag(
    ann: httpx.Client, bob: httpx.Client
) -> None:
    assert ann.post("/api/v2/dags/quick/dagRuns", json={"logical_date": None}).status_code == 200
    assert ann.patch("/api/v2/dags/quick", json={"is_paused": False}).status_code == 200
    for client, dag in ((ann, "reads"), (ann, "slow"), (bob, "reads"), (bob, "quick")):
        assert client.post(f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None}).status_code == 403
        assert client.patch(f"/api/v2/dags/{dag}", json={"is_paused": True}).status_code == 403
        body = {"dry_run": False, "only_failed": False}
        assert client.post(f"/api/v2/dags/{dag}/clearTaskInstances", json=body).status_code == 403
        assert client.delete(f"/api/v2/dags/{dag}").status_code == 403
    assert ann.delete("/api/v2/dags/quick").status_code == 403
    # A change that names its Dag in the body is decided by that Dag.
    change = {"action": "update", "entities": [{"dag_id": "reads", "dag_run_id": "x", "task_id": "work", "note": "n"}]}
    answer = ann.patch("/api/v2/dags/~/dagRuns/~/taskInstances", json={"actions": [change]})
    assert answer.status_code == 403 or "not authorized" in answer.text, answer.text


def test_a_tag_gives_rights_as_soon_as_the_dag_has_it_and_takes_them_with_it(
    platform: Platform, ann: httpx.Client
) -> None:
    path = platform.project / "dags" / "tagged.py"
    source = "from airflow.sdk import dag\n@dag(schedule=None, tags=[{tag!r}])\ndef tagged(): ...\ntagged()\n"
    path.write_text(source.format(tag="team-a"))
    wait_until(lambda: ann.get("/api/v2/dags/tagged").status_code == 200, "ann reads the new Dag")
    path.write_text(source.format(tag="team-b"))
    wait_until(lambda: ann.get("/api/v2/dags/tagged").status_code == 403, "ann does not any more")
    path.unlink()


def test_a_user_who_is_not_in_fleet_yaml_is_reported_and_removed_on_request_while_logged_in(
    platform: Platform, ann: httpx.Client, bob: httpx.Client, governor: Governor
) -> None:
    alone = DesiredAccess(USERS[:1], AccessRules(RULES))
    assert "user bob: is not in fleet.yaml, and keeps all rights" in governor.apply(alone)
    assert bob.get("/api/v2/dags/reads").status_code == 200
    pruned = replace(alone, prune=True)
    assert "deactivate user bob" in governor.apply(pruned)
    wait_until(lambda: bob.get("/api/v2/dags/reads").status_code in (401, 403), "bob is out")
    assert ann.get("/api/v2/dags/quick").status_code == 200
    assert "bob" not in governor.apply(pruned), "a second call has nothing to change"
    rows = json.loads(platform.airfleet("audit", "list", "--json", "--text", "access deactivate").stdout)
    # Users that other tests made on this platform are removed too.
    assert "access deactivate user bob" in [row["entry"]["action"] for row in rows]
    platform.airfleet("audit", "verify")


def test_an_apply_that_is_killed_changes_nothing(database: psycopg.Connection[Any], governor: Governor) -> None:
    """It is killed while it waits for the end of the audit log, with all changes made and none committed."""
    more = DesiredAccess((*USERS, DesiredUser("eve", "eve@example.com", frozenset({"Viewer"}))), AccessRules(RULES))
    # Unlike pg_stat_activity, this is not the same for the whole of a transaction.
    waiting = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND pid IN"
        " (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted)"
    )
    with database.transaction():
        database.execute("SELECT * FROM airfleet.audit_head FOR UPDATE")
        running = governor.begin(more)
        wait_until(lambda: database.execute(waiting, [ACCESS_LOCK]).fetchone(), "the change waits")
        running.kill()
        running.communicate(timeout=PATIENCE_S)
    assert database.execute("SELECT 1 FROM ab_user WHERE username = 'eve'").fetchone() is None
    assert "add user eve" in governor.apply(more)
    assert database.execute("SELECT 1 FROM ab_user WHERE username = 'eve'").fetchone()


def test_two_applies_at_once_come_one_after_the_other(database: psycopg.Connection[Any], governor: Governor) -> None:
    def own(name: str) -> DesiredAccess:
        user = DesiredUser(name, f"{name}@example.com", frozenset({"team-c"}))
        return DesiredAccess((*USERS, user), AccessRules({**RULES, "team-c": RoleRules(("c_*",))}), prune=True)

    running = [governor.begin(own("cat")), governor.begin(own("cow"))]
    said = [one.communicate(timeout=PATIENCE_S)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    asked = "SELECT username FROM ab_user WHERE username IN ('cat', 'cow') AND active"
    assert len(database.execute(asked).fetchall()) == 1


def test_the_command_line_says_what_decides_puts_it_right_and_unlocks(
    platform: Platform, ann: httpx.Client, database: psycopg.Connection[Any]
) -> None:
    database.execute("DELETE FROM ab_user_role WHERE user_id = (SELECT id FROM ab_user WHERE username = 'ann')")
    done = platform.airfleet("access", "plan", "--check", check=False)
    assert (done.returncode, done.stdout) == (3, "change user ann: roles team-a (were none)\n")
    assert "change user ann: roles team-a (were none)" in platform.airfleet("access", "apply").stdout
    assert ann.get("/api/v2/dags/quick").status_code == 200
    said = platform.airfleet("access", "explain", "ann", "quick").stdout
    assert "ann may edit quick: access.roles.team-a.dags.edit has 'quick', which fits" in said
    answer = json.loads(platform.airfleet("access", "explain", "ann", "reads", "--json").stdout)
    assert (answer["read"]["granted"], answer["edit"]["granted"]) == (False, False)
    assert "nothing to change" in platform.airfleet("access", "plan", "--check").stderr
    users = {one["name"]: one for one in json.loads(platform.airfleet("access", "list", "--json").stdout)["users"]}
    assert (users["ann"]["roles"], users["ann"]["in_fleet_yaml"]) == (["team-a"], True)
    assert platform.log_in("wrong", "bob").status_code == 401
    assert "1 failed login of bob is forgotten" in platform.airfleet("access", "unlock", "bob").stderr
