"""The Fleet pages on a real platform: real users with real roles, the real database, Airflow's UI in a real browser."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from playwright.sync_api import expect

from airfleet_provider.contract import alert_schema
from airflow_pages import CHROMIUM, open_page, start_browser
from deadline import PATIENCE_S, wait_until
from fleets import Platform

pytestmark = [pytest.mark.local]

# Twice as long as the api-server keeps an answer.
KEPT_S = 6.0
PAGES = ("overview", "pools", "releases", "slas", "alerts", "breakers", "incident", "backups")
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
# What a team may do in Airflow that may read one Dag.
ONE_DAG = [("can_read", resource) for resource in ("DAG:quick", "Task Instances", "DAG Runs", "Task Logs", "Website")]


class Visitor:
    """A user of the platform, and the requests that this user sends."""

    def __init__(self, platform: Platform, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{platform.port}", timeout=PATIENCE_S, trust_env=False, headers=headers
        )

    def get(self, path: str) -> httpx.Response:
        return self._client.get(f"/airfleet/api/{path}")

    def ask_airflow(self, path: str) -> httpx.Response:
        return self._client.get(f"/api/v2/{path}")

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._client.post(f"/airfleet/api/{path}", json=body)

    def make(self, kind: str, body: dict[str, Any]) -> None:
        """Make a role or a user."""
        self._client.post(f"/auth/fab/v1/{kind}", json=body).raise_for_status()


def log_in(platform: Platform, name: str, password: str) -> Visitor:
    url = f"http://127.0.0.1:{platform.port}/auth/token"
    answer = httpx.post(url, json={"username": name, "password": password}, timeout=PATIENCE_S, trust_env=False)
    return Visitor(platform, answer.raise_for_status().json()["access_token"])


@pytest.fixture
def database(platform: Platform) -> Iterator[psycopg.Connection[Any]]:
    dsn = platform.state.read_dsn()
    assert dsn is not None
    with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
        yield connection
        # Other tests share the platform.
        connection.execute(
            "UPDATE airfleet.alert SET resolved_at = clock_timestamp() WHERE source = 'test' AND resolved_at IS NULL"
        )


@pytest.fixture
def visitors(platform: Platform, database: psycopg.Connection[Any]) -> dict[str, Visitor]:
    """The admin, a viewer, somebody who may read one Dag, and nobody."""
    admin = log_in(platform, "admin", platform.password)
    # FAB knows a Dag by itself when the Dag names roles of its own; no Dag of this project does.
    database.execute(
        "INSERT INTO ab_view_menu (id, name) SELECT nextval('ab_view_menu_id_seq'), 'DAG:quick'"
        " WHERE NOT EXISTS (SELECT FROM ab_view_menu WHERE name = 'DAG:quick')"
    )
    suffix, password = secrets.token_hex(3), secrets.token_hex(8)
    actions = [{"action": {"name": action}, "resource": {"name": resource}} for action, resource in ONE_DAG]
    admin.make("roles", {"name": f"Team{suffix}", "actions": actions})
    found = {"admin": admin, "nobody": Visitor(platform, "")}
    for name, role in (("viewer", "Viewer"), ("team", f"Team{suffix}")):
        user = f"{name}{suffix}"
        words = {"username": user, "password": password, "email": f"{user}@example.com"}
        admin.make("users", {**words, "first_name": name, "last_name": name, "roles": [{"name": role}]})
        found[name] = log_in(platform, user, password)
    return found


def raise_alert(database: psycopg.Connection[Any], labels: dict[str, str]) -> int:
    name = f"Test{secrets.token_hex(4)}"
    number = alert_schema.raise_alert(
        database, fingerprint=name, source="test", name=name, severity="warning", summary="a test", labels=labels
    )
    assert number is not None
    return number


def list_alerts(visitor: Visitor) -> set[int]:
    return {one["id"] for one in visitor.get("alerts").json()["alerts"]}


def test_everybody_sees_what_the_own_role_allows(platform: Platform, visitors: dict[str, Visitor]) -> None:
    assert platform.succeeds("quick")
    found = {name: tuple(one.get(page).status_code for page in PAGES) for name, one in visitors.items()}
    assert found == {
        "admin": (200,) * 8,
        "viewer": (200,) * 8,
        "team": (403, 403, 403, 200, 200, 403, 403, 403),
        "nobody": (401,) * 8,
    }
    explained = {name: one.get("explain?dag=quick").status_code for name, one in visitors.items()}
    assert explained == {"admin": 200, "viewer": 200, "team": 200, "nobody": 401}
    assert visitors["team"].get("explain?dag=slow").status_code == 403
    assert visitors["admin"].get("explain?dag=not_there").status_code == 404


def test_who_may_read_a_dag_reads_the_list_of_plugins_and_not_their_errors(visitors: dict[str, Visitor]) -> None:
    found = {
        name: tuple(one.ask_airflow(path).status_code for path in ("plugins", "plugins/importErrors"))
        for name, one in visitors.items()
    }
    assert found == {"admin": (200, 200), "viewer": (200, 403), "team": (200, 403), "nobody": (401, 401)}


def test_the_overview_is_that_of_this_platform(platform: Platform, visitors: dict[str, Visitor]) -> None:
    shown = visitors["admin"].get("overview").json()
    assert "SchedulerJob" in [one["type"] for one in shown["components"]]
    platform.hold()
    wait_until(
        lambda: "slow" in [one["dag"] for one in visitors["admin"].get("pools").json()["slowest"]],
        "the running task on the page",
        every_s=0.5,
    )
    platform.release()


def test_an_acknowledgement_needs_its_right_and_is_audited(
    visitors: dict[str, Visitor], database: psycopg.Connection[Any]
) -> None:
    alert = raise_alert(database, {"dag": "quick"})
    path = f"alerts/{alert}/acknowledge"
    wait_until(lambda: alert in list_alerts(visitors["team"]), "the new alert")
    tries = {name: one.post(path, {"note": "test"}).status_code for name, one in visitors.items() if name != "admin"}
    assert tries == {"viewer": 403, "team": 403, "nobody": 401}
    assert visitors["admin"].post(path, {"note": "test"}).status_code == 200
    shown = {one["id"]: one for one in visitors["admin"].get("alerts").json()["alerts"]}
    assert shown[alert]["acknowledged_by"]
    rows = database.execute(
        "SELECT event, extra::jsonb ->> 'status' FROM log WHERE event LIKE 'airfleet_acknowledge_alert%%'"
        " AND (extra::jsonb ->> 'alert')::int = %s ORDER BY id",
        (alert,),
    ).fetchall()
    refused = ("airfleet_acknowledge_alert_refused", "403")
    assert rows == [refused, refused, ("airfleet_acknowledge_alert", "200")]
    assert database.execute("SELECT via FROM airfleet.acknowledgement WHERE alert = %s", (alert,)).fetchall() == [
        ("ui",)
    ]


def test_a_team_sees_neither_alerts_of_others_nor_of_the_platform(
    visitors: dict[str, Visitor], database: psycopg.Connection[Any]
) -> None:
    hidden = {raise_alert(database, {"dag_id": "slow"}), raise_alert(database, {"host": "db1"})}
    wait_until(lambda: hidden <= list_alerts(visitors["viewer"]), "the new alerts")
    assert not hidden & list_alerts(visitors["team"])


def test_readers_of_a_dag_see_the_traces_and_logs_of_its_runs(platform: Platform, visitors: dict[str, Visitor]) -> None:
    run = platform.trigger("quick")
    assert platform.wait_run("quick", run) == "success"
    words = str(httpx.QueryParams({"dag": "quick", "run": run}))
    found = {name: one.get(f"trace?{words}").status_code for name, one in visitors.items()}
    assert found == {"admin": 200, "viewer": 200, "team": 200, "nobody": 401}
    (work,) = visitors["team"].get(f"trace?{words}").json()["tries"]
    assert (work["name"], work["state"], work["parts"][-1]["part"]) == ("work", "success", "running")
    assert visitors["team"].get("trace?dag=slow&run=r").status_code == 403

    def list_runs(visitor: Visitor) -> set[str]:
        # On a busy machine, a search may find the index busy.
        return {line["run"] for line in visitor.get("logs?dag=quick").json().get("lines", ())}

    wait_until(lambda: run in list_runs(visitors["team"]), "the lines of the run in the index")
    lines = visitors["team"].get("logs?dag=quick").json()["lines"]
    assert {line["dag"] for line in lines} == {"quick"}
    statuses = {
        name: (one.get("logs").status_code, one.get("logs?dag=slow").status_code) for name, one in visitors.items()
    }
    assert statuses == {"admin": (200, 200), "viewer": (200, 200), "team": (403, 403), "nobody": (401, 401)}


def test_a_time_line_shows_changes_to_auditors_only(platform: Platform, visitors: dict[str, Visitor]) -> None:
    platform.trigger("quick")

    def list_kinds(name: str) -> set[str]:
        return {one["kind"] for one in visitors[name].get("incident").json()["events"]}

    wait_until(lambda: "change" in list_kinds("admin"), "the change on the time line")
    assert "change" not in list_kinds("viewer")


@pytest.mark.parametrize("path", ["overview", "pools", "incident?hours=24"])
def test_an_open_page_costs_little(platform: Platform, visitors: dict[str, Visitor], path: str) -> None:
    """A page asks every 10 s, so one request may take 0.1 s of CPU: one percent of a core."""
    (server, *children) = platform.session(platform.pid("api-server"))
    assert visitors["admin"].get(path).status_code == 200

    def measure() -> float:
        times = []
        for one in (server, *children):
            with contextlib.suppress(psutil.NoSuchProcess):
                times.append(one.cpu_times())
        return sum(one.user + one.system for one in times)

    def ask() -> float:
        """Return the CPU time of one request, with that of other work of the server meanwhile."""
        before, begun, asked = measure(), time.monotonic(), 0
        # Longer than an answer is kept, so that the database is read too.
        while asked < 20 or time.monotonic() < begun + KEPT_S:
            assert visitors["admin"].get(path).status_code == 200
            asked += 1
            time.sleep(0.2)
        spent = (measure() - before) / asked
        print(f"one request for {path}: {1000 * spent:.1f} ms of CPU of the api-server")
        return spent

    # On a busy machine the other work of the server counts for more.
    assert any(ask() < 0.1 for _ in range(3))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: tools/chromium installs it as root")
def test_a_person_opens_the_pages_and_the_tab_of_a_task(platform: Platform) -> None:
    run = platform.trigger("quick")
    assert platform.wait_run("quick", run) == "success"
    base = f"http://127.0.0.1:{platform.port}"
    with start_browser() as browser:
        page = open_page(browser)
        page.goto(f"{base}/")
        page.locator("input[name=username]").fill("admin")
        page.locator("input[name=password]").fill(platform.password)
        page.locator("input[type=submit], button[type=submit]").first.click()
        page.get_by_role("link", name="Fleet").click()
        expect(page.get_by_role("heading", name="What is wrong")).to_be_visible()
        expect(page.get_by_role("cell", name="Scheduler").first).to_be_visible()
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "fleet-real-overview.png")
        page.goto(f"{base}/dags/quick/runs/{run}/tasks/work/plugin/why-task")
        expect(page.locator(".airfleet .af-verdict")).to_be_visible()
        page.screenshot(path=ARTIFACTS / "fleet-real-why.png")
        page.goto(f"{base}/dags/quick/runs/{run}/plugin/trace-run")
        expect(page.locator(".airfleet .af-lane").first).to_be_visible()
        page.screenshot(path=ARTIFACTS / "fleet-real-trace.png")
        for name, heading in (
            ("pools", "Slot pools"),
            ("logs", "Lines, the newest first"),
            ("incident", "What happened"),
        ):
            page.goto(f"{base}/plugin/fleet/{name}")
            expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
            page.screenshot(path=ARTIFACTS / f"fleet-real-{name}.png")
