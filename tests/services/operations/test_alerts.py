"""`airfleet alerts` on a real PostgreSQL: what it lists, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import Result

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.alerts import open_alerts
from airfleet.spec.secrets import Secret
from airfleet.workspace.project import find_state
from airfleet_provider.contract import alert_schema
from command_line import invoke
from servers import Server, serve_own

FLEET = "notifications:\n  receivers:\n    team: {type: webhook, url: http://127.0.0.1:9/}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_own() as one:
        yield one


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Path:
    server.query("TRUNCATE airfleet.alert, airfleet.notification, airfleet.silence RESTART IDENTITY CASCADE")
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / ".airfleet" / "secrets").mkdir(parents=True, mode=0o700)
    find_state(tmp_path, None).write_dsn(Secret(server.dsn))
    return tmp_path


def fire(server: Server, name: str, severity: str = "warning", source: str = "test", **labels: str) -> int:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        number = alert_schema.raise_alert(
            connection,
            fingerprint=name,
            source=source,
            name=name,
            severity=severity,
            summary=f"{name} \x1b[31m is wrong",
            labels=labels,
        )
    assert number
    return number


def call(project: Path, *words: str) -> Result:
    return invoke("alerts", *words, "--project", str(project))


def test_the_most_severe_comes_first_with_its_state_and_who_was_notified(project: Path, server: Server) -> None:
    low, high = fire(server, "Low"), fire(server, "High", "critical")
    server.query(
        "INSERT INTO airfleet.notification (key, alert, receiver, kind, state, error)"
        " VALUES ('a', %s, 'team', 'firing', 'pending', 'refused')",
        low,
    )
    found = json.loads(call(project, "list", "--json").stdout)
    assert [(one["id"], one["state"]) for one in found] == [(high, "firing"), (low, "firing")]
    assert found[1]["notified"] == {"team": {"sent": 0, "unsent": 1, "failed": 0, "error": "refused"}}
    text = call(project, "list").stdout
    assert "team: 1 unsent: refused" in text
    assert "\x1b" not in text


def test_an_acknowledgement_is_recorded_with_its_person(project: Path, server: Server) -> None:
    number = fire(server, "Disk")
    assert call(project, "ack", str(number), "--note", "I do it").exit_code == 0
    (found,) = json.loads(call(project, "list", "--json").stdout)
    assert found["state"].startswith("acknowledged by ")
    assert server.query("SELECT via, note FROM airfleet.acknowledgement") == [("cli", "I do it")]
    assert isinstance(call(project, "ack", "999").exception, UsageError)
    assert isinstance(call(project, "ack").exception, UsageError)


def test_a_silence_names_its_alerts_and_ends(project: Path, server: Server) -> None:
    fire(server, "DiskFull", host="web1")
    fire(server, "DiskFull2", host="web2")
    words = ("silence", "--name", "Disk.*", "--label", "host=web1", "--for", "2h", "--comment", "work", "--json")
    number = json.loads(call(project, *words).stdout)["id"]
    states = {one["name"]: one["state"] for one in json.loads(call(project, "list", "--json").stdout)}
    assert states == {"DiskFull": f"silenced by {number}", "DiskFull2": "firing"}
    assert "name=Disk.*, host=web1" in call(project, "silence", "--list").stdout
    assert call(project, "silence", "--end", str(number)).exit_code == 0
    assert isinstance(call(project, "silence", "--end", str(number)).exception, UsageError)


def test_a_silence_of_one_alert_holds_for_its_next_run_too(project: Path, server: Server) -> None:
    number = fire(server, "DagRunFailed", dag_id="a.b", run_id="monday", number="1")
    assert call(project, "silence", "--alert", str(number), "--for", "1h").exit_code == 0
    fire(server, "DagRunFailed", dag_id="a.b", run_id="tuesday", number="2")
    fire(server, "DagRunFailed2", dag_id="aXb")
    states = {one["name"]: one["state"] for one in json.loads(call(project, "list", "--json").stdout)}
    assert states["DagRunFailed"].startswith("silenced")
    assert states["DagRunFailed2"] == "firing"


def test_a_silence_of_a_promise_holds_when_it_is_late_and_for_the_next_run(project: Path, server: Server) -> None:
    same = {"source": "sla", "rule": "marts", "kind": "finished-by", "dag_id": "marts"}
    number = fire(server, "SlaNotMet", **same, state="at-risk", run_id="monday")
    assert call(project, "silence", "--alert", str(number), "--for", "1h").exit_code == 0
    fire(server, "SlaNotMet", "critical", **same, state="late", run_id="tuesday")
    (alert,) = json.loads(call(project, "list", "--json").stdout)
    assert alert["state"].startswith("silenced")


@pytest.mark.parametrize(
    "words",
    [
        ("--for", "2h"),
        ("--name", "x"),
        ("--name", "[", "--for", "2h"),
        ("--label", "host", "--for", "2h"),
        ("--alert", "1", "--name", "x", "--for", "2h"),
        ("--name", "x", "--for", "soon"),
    ],
)
def test_a_silence_that_says_too_little_or_too_much_is_refused(project: Path, words: tuple[str, ...]) -> None:
    assert isinstance(call(project, "silence", *words).exception, UsageError)


def test_a_test_goes_through_the_outbox_and_reports_its_outcome(project: Path, server: Server) -> None:
    def send(seconds: float) -> None:
        server.query("UPDATE airfleet.notification SET state = 'failed', error = '404 gone' WHERE kind = 'test'")

    with open_alerts(project, None) as alerts:
        outcome = alerts.test("team", sleep=send)
        assert (outcome.state, outcome.error) == ("failed", "404 gone")
        assert alerts.test("team", wait_s=0.0).state == "pending"
        with pytest.raises(UsageError, match="no receiver 'nobody'"):
            alerts.test("nobody")


def test_without_a_platform_there_is_a_hint(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    found = call(tmp_path, "list").exception
    assert isinstance(found, AirfleetError)
    assert "airfleet up" in str(found)


def test_a_person_ends_an_alert_with_a_reason(project: Path, server: Server) -> None:
    number = fire(server, "DagRunFailed")
    assert isinstance(call(project, "resolve", str(number), "--reason", " ").exception, UsageError)
    assert call(project, "resolve", str(number)).exit_code == 2
    assert call(project, "resolve", str(number), "--reason", "the Dag is gone").exit_code == 0
    assert json.loads(call(project, "list", "--json").stdout) == []
    (found,) = json.loads(call(project, "list", "--all", "--json").stdout)
    assert found["ended_by"].partition("@")[0]
    assert found["state"] == f"ended by {found['ended_by']}: the Dag is gone"
    assert isinstance(call(project, "resolve", str(number), "--reason", "again").exception, UsageError)
