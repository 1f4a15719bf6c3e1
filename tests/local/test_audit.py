"""The audit log on a real platform: what users, tasks and commands leave in it, and what an edit leaves behind."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from deadline import PATIENCE_S, wait_until
from fleets import Platform

pytestmark = [pytest.mark.local]


@pytest.fixture
def database(platform: Platform) -> Iterator[psycopg.Connection[Any]]:
    dsn = platform.state.read_dsn()
    assert dsn is not None
    with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{platform.port}", timeout=PATIENCE_S, trust_env=False) as one:
        one.headers["Authorization"] = f"Bearer {platform.log_in(platform.password).json()['access_token']}"
        yield one


def list_rows(platform: Platform, *words: str) -> list[dict[str, Any]]:
    done = platform.airfleet("audit", "list", "--json", "-n", "1000", *words)
    found: list[dict[str, Any]] = [{**one, **one["entry"]} for one in json.loads(done.stdout)]
    return found


def test_a_change_a_refused_try_and_a_failed_login_are_recorded(platform: Platform, client: httpx.Client) -> None:
    name = f"audit{secrets.token_hex(4)}"
    pool = {"name": name, "slots": 1, "description": "secret words", "include_deferred": False}
    assert client.post("/api/v2/pools", json=pool).status_code == 201
    assert client.patch(f"/api/v2/pools/{name}", json={**pool, "slots": 2}).status_code == 200
    assert client.delete(f"/api/v2/pools/{name}").status_code == 204
    assert httpx.delete(f"{client.base_url}/api/v2/pools/{name}", trust_env=False).status_code == 401
    made, changed, deleted, refused = list_pool(platform, name)
    assert [one["actor"] for one in (made, changed, deleted)] == ["admin"] * 3
    assert (made.get("before"), deleted.get("after")) == (None, None)
    assert (changed["before"], deleted["before"]) == (made["after"], changed["after"])
    assert (refused.get("actor"), refused["outcome"], refused["status"]) == (None, "refused", 401)
    assert "secret words" not in json.dumps([made, changed])
    assert platform.log_in("wrong").status_code == 401
    last = list_rows(platform, "--outcome", "refused", "--actor", "admin")[-1]
    assert (last["action"], last["status"]) == ("POST /auth/token", 401)


def list_pool(platform: Platform, name: str) -> list[dict[str, Any]]:
    own = [one for one in list_rows(platform, "--source", "api") if "/api/v2/pools" in one["action"]]
    start = next(place for place, one in enumerate(own) if one["action"].endswith(name)) - 1
    return own[start : start + 4]


def test_a_task_that_reads_a_secret_and_a_command_of_airflow_are_recorded(platform: Platform) -> None:
    platform.airfleet("airflow", "variables", "set", "audited", "the value of it")
    assert platform.succeeds("reads")
    rows = list_rows(platform)
    command = [one for one in rows if one["action"] == "airflow variables_set"][-1]
    assert command["entry"]["detail"] == {"options": [], "words": ["variables", "set", "audited"]}
    assert "the value" not in json.dumps(rows)
    # Tasks of other Dags may read at the same time.
    assert [one for one in rows if one["source"] == "task" and one["actor"].startswith("reads ")]


def test_a_command_of_airfleet_has_its_end(platform: Platform) -> None:
    platform.airfleet("breaker", "open", "not-there", "--reason", "test", check=False)
    begun, ended = [one for one in list_rows(platform, "--source", "airfleet") if "breaker open" in one["action"]][-2:]
    assert (begun["outcome"], ended["outcome"], ended["status"]) == ("begun", "failed", 2)
    assert ended["entry"]["detail"]["began"] == begun["id"]


def test_an_edited_row_is_found_with_its_number(platform: Platform, database: psycopg.Connection[Any]) -> None:
    assert platform.airfleet("audit", "verify").returncode == 0
    found = database.execute(
        "SELECT number, entry FROM airfleet.audit ORDER BY number DESC OFFSET 2 LIMIT 1"
    ).fetchone()
    assert found is not None
    number, entry = found

    def edit(text: str) -> None:
        database.execute("ALTER TABLE airfleet.audit DISABLE TRIGGER USER")
        database.execute("UPDATE airfleet.audit SET entry = %s WHERE number = %s", (text, number))
        database.execute("ALTER TABLE airfleet.audit ENABLE TRIGGER USER")

    edit(entry.replace("{", '{"actor":"someone else",', 1))
    done = platform.airfleet("audit", "verify", check=False)
    edit(entry)
    assert (done.returncode, f"row {number} was edited" in done.stdout) == (1, True)
    platform.airfleet("audit", "verify")


def test_the_agents_keep_heads_outside_the_database(platform: Platform) -> None:
    wait_until(lambda: "audit head {" in platform.log("agents"), "a head in the log of the agents")
    log = platform.state.logs / "agents.log"
    assert json.loads(platform.airfleet("audit", "verify", "--json", "--anchors", str(log)).stdout)["findings"] == []


def test_old_rows_move_into_a_file_and_the_chain_stays_whole(platform: Platform, tmp_path: Path) -> None:
    target = tmp_path / "old.jsonl"
    platform.airfleet("audit", "archive", "--before", "0s", "--to", str(target))
    assert len(target.read_text().splitlines()) > 3
    assert json.loads(platform.airfleet("audit", "verify", "--json").stdout)["first"] > 1
    body = json.loads(platform.airfleet("audit", "verify", "--json", "--archive", str(target)).stdout)
    assert (body["first"], body["findings"]) == (1, [])
