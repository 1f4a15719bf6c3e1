"""One running platform: what its commands show, what survives a restart, and how fleet.yaml shapes it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest

from deadline import PATIENCE_S, wait_until
from fleets import COMPONENTS, SECRET, Platform

pytestmark = pytest.mark.local


def ask_status(platform: Platform, *words: str) -> str:
    """Return the output of `status` once all is healthy. On a busy machine a single check may time out."""

    def ask() -> str:
        done = platform.airfleet("status", *words, check=False)
        return done.stdout if done.returncode == 0 else ""

    return wait_until(ask, "status to find all healthy", every_s=0.5, seen=platform.describe)


def test_status_shows_every_component_healthy(platform: Platform) -> None:
    status = json.loads(ask_status(platform, "--json"))
    assert (status["phase"], status["url"]) == ("healthy", f"http://127.0.0.1:{platform.port}")
    assert status["import_errors"] == []
    components = {one["name"]: one for one in status["components"] if one["state"] != "done"}
    assert tuple(components) == COMPONENTS
    for one in components.values():
        assert one["state"] == "healthy"
        assert one["pid"] > 0
        assert one["memory_mib"] > 1
        assert one["uptime_s"] >= 0
    assert components["api-server"]["url"] == status["url"]
    text = ask_status(platform)
    assert all(name in text for name in COMPONENTS)


def test_a_second_up_is_refused_and_harms_nothing(platform: Platform) -> None:
    pids = [platform.pid(name) for name in COMPONENTS]
    for words in (["up"], ["up", "--detach"]):
        done = platform.airfleet(*words, check=False)
        assert done.returncode == 1
        assert "already up here" in done.stderr
        assert "hint: `airfleet status` shows it" in done.stderr
        assert "Traceback" not in done.stderr
    assert [platform.pid(name) for name in COMPONENTS] == pids


def test_what_every_worker_of_a_fleet_knows_signs_nobody_in(platform: Platform) -> None:
    key = (platform.state.secrets / "secret_key").read_text().strip().encode()
    for user in ("1", "2", "3"):
        forged = f"{user}|{hmac.new(key, user.encode(), hashlib.sha512).hexdigest()}"
        headers = {"Cookie": f"remember_token={forged}"}
        for path in ("/auth/", "/auth/login/"):
            answer = httpx.get(f"http://127.0.0.1:{platform.port}{path}", headers=headers, timeout=PATIENCE_S)
            assert "_token" not in answer.cookies, "a login as this user"


def test_nothing_listens_wider_than_the_loopback(platform: Platform) -> None:
    listeners = set()
    for process in platform.processes():
        with contextlib.suppress(psutil.Error):  # a parse or a check of this moment has ended
            connections = process.net_connections("tcp")
            listeners |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    assert listeners == {"127.0.0.1"}


def test_what_is_secret_is_the_owners_alone_and_shows_in_no_command_line_or_log(platform: Platform) -> None:
    kept = list(platform.state.secrets.rglob("*"))
    files = [path for path in kept if path.is_file()]
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}
    assert {oct(path.stat().st_mode & 0o777) for path in kept if path.is_dir()} <= {"0o700"}
    assert platform.state.root.stat().st_mode & 0o066 == 0
    secrets = [file.read_text() for file in files if not file.suffix] + [SECRET]
    lines = []
    for process in platform.processes():
        with contextlib.suppress(psutil.Error):  # a parse or a check of this moment has ended
            lines.append(" ".join(process.cmdline()))
    assert lines
    logs = [file.read_text(errors="replace") for file in platform.state.logs.glob("*.log")]
    assert [secret for secret in secrets for text in (*lines, *logs) if secret in text] == []


def test_the_airflow_cfg_is_the_owners_alone(platform: Platform) -> None:
    assert (platform.state.root / "airflow" / "airflow.cfg").stat().st_mode & 0o777 == 0o600


def test_every_component_has_a_log(platform: Platform) -> None:
    out = platform.airfleet("logs", "-n", "1000").stdout
    heads = {line.partition("|")[0].strip() for line in out.splitlines()}
    assert {"airfleet", "postgres", "api-server", "scheduler", "dag-processor", "triggerer", "metadata"} <= heads
    assert "platform healthy" in platform.airfleet("logs", "airfleet").stdout


def test_airflows_own_command_line_speaks_to_this_platform(platform: Platform) -> None:
    wait_until(lambda: all(map(platform.knows, ("quick", "slow", "reads"))), "the Dags")
    done = platform.airfleet("airflow", "dags", "list", "--output", "json")
    listed = json.loads(done.stdout.splitlines()[-1])  # Airflow writes its warnings to stdout too
    assert {dag["dag_id"] for dag in listed} == {"quick", "slow", "reads"}


def test_a_run_succeeds(platform: Platform) -> None:
    assert platform.succeeds("quick")


def test_a_run_is_triggered_and_followed_and_made_once_however_often_it_is_asked_for(platform: Platform) -> None:
    wait_until(lambda: platform.knows("quick"), "the Dag")
    words = ("run", "quick", "--run-id", "asked-for", "--conf", '{"day": 1}')
    told = json.loads(platform.airfleet(*words, "--follow", "--json").stdout)
    assert (told["run"], told["state"], [one["state"] for one in told["tasks"]]) == (
        "asked-for",
        "success",
        ["success"],
    )
    assert platform.call("GET", "/dags/quick/dagRuns/asked-for")["conf"] == {"day": 1}
    assert json.loads(platform.airfleet(*words, "--json").stdout) == {"dag": "quick", "run": "asked-for", "new": False}


def test_a_log_is_found_by_its_words_and_read_in_the_ui_when_its_file_is_gone(platform: Platform) -> None:
    run = platform.trigger("quick")
    assert platform.wait_run("quick", run) == "success"
    [file] = platform.state.logs.glob(f"tasks/dag_id=quick/run_id={run}/task_id=work/attempt=1.log")

    def find_all() -> list[dict[str, Any]]:
        """Return what is found once that is all. The task's last lines come after the run has ended."""
        written = file.read_text()
        words = ("--dag", "quick", "--run", run, "-n", "1000", "--json")
        found = [json.loads(line) for line in platform.airfleet("logs", "search", *words).stdout.splitlines()]
        is_whole = "::endgroup::" in written.partition("::group::Post Execute")[2]
        return found if is_whole and len(found) == len(written.splitlines()) else []

    def read_events() -> list[str]:
        path = f"/dags/quick/dagRuns/{quote(run)}/taskInstances/work/logs/1?full_content=true"
        return [one["event"] for one in platform.call("GET", path)["content"]]

    found = wait_until(find_all, "the lines of the task", every_s=0.5)
    assert {(one["dag_id"], one["task_id"], one["try_number"]) for one in found} == {("quick", "work", 1)}
    assert "* work" in platform.airfleet("trace", "quick", run).stdout
    line = json.loads(platform.airfleet("incident", "--json").stdout)
    assert "SchedulerJob" in {one["subject"].partition(" ")[0] for one in line["events"]}
    before = read_events()
    file.unlink()
    after = read_events()
    assert after[1].startswith("the index of logs")
    assert after[2:] == before[2:]


def test_fleet_yaml_reaches_the_tasks(platform: Platform) -> None:
    assert platform.succeeds("reads")
    assert json.loads((platform.project / "read.json").read_text()) == {
        "password": SECRET,
        "extra": {"n": 1},
        "variable": {"days": 7},
        "region": "eu",
        "row": ["warehouse", "warehouse"],
    }


def test_fleet_yaml_reaches_airflow_and_the_callers_settings_do_not(platform: Platform) -> None:
    assert platform.environment["AIRFLOW__CORE__PARALLELISM"] == "1"
    pool = platform.call("GET", "/pools/crm")
    assert (pool["slots"], pool["description"]) == (2, "Few")
    connection = platform.call("GET", "/connections/crm")
    assert (connection["conn_type"], connection["host"], connection["login"]) == ("http", "crm.example.com", "reader")
    assert platform.call("GET", "/connections/warehouse")["schema"] == "warehouse"
    for option, value in (("parallelism", "3"), ("max_active_tasks_per_dag", "2")):
        assert platform.airfleet("airflow", "config", "get-value", "core", option).stdout.strip() == value
    environments = [process.environ() for process in platform.processes() if process.pid == platform.pid("image")]
    assert environments
    assert not any(key.startswith("AIRFLOW__") for environment in environments for key in environment)


def test_a_dag_that_does_not_load_is_shown_and_harms_nothing(platform: Platform) -> None:
    broken = platform.project / "dags" / "broken.py"
    broken.write_text("from airflow.sdk import dag\ndef oops(:\n")
    try:
        errors = wait_until(lambda: platform.status()["import_errors"], "the error", every_s=0.5)
        assert [error["file"] for error in errors] == ["dags/broken.py"]
        assert "SyntaxError" in errors[0]["message"]
        done = platform.airfleet("status", check=False)
        assert re.search(r"broken\.py does not load: .*SyntaxError", done.stdout)
        assert platform.call("GET", "/importErrors")["total_entries"] == 1
        platform.wait_healthy()
        broken.write_text("from airflow.sdk import dag\n")
        wait_until(lambda: not platform.status()["import_errors"], "the mending", every_s=0.5)
        assert platform.call("GET", "/importErrors")["total_entries"] == 0
    finally:
        broken.unlink()
