"""The api-server's answers to the reports of workers, as a worker reads them."""

from __future__ import annotations

import time

import pytest
from airflow.configuration import conf
from fastapi.testclient import TestClient

from airfleet_provider.api_server.slots_app import app
from airfleet_provider.executors import slot_limit
from airfleet_provider.executors.slot_limit import SlotReport, SlotReports
from airfleet_provider.network import signed_requests
from airfleet_provider.slots import reports

PLACE, QUERY = "/airfleet/workers/cpu/a", "held=2&in_force=8&takes=1"


def ask(key: str | None = None, query: str = QUERY, *, sent: str | None = None) -> tuple[int, str]:
    """Return the status and the body of an answer to a report, signed with a key or with that of the platform."""
    key, moment = key or conf.get("api", "secret_key"), int(time.time())
    headers = {
        signed_requests.TIME_HEADER: str(moment),
        signed_requests.SIGNATURE_HEADER: signed_requests.sign(key, slot_limit.describe(PLACE, query), moment),
    }
    answer = TestClient(app).get(f"/cpu/a?{sent or query}", headers=headers)
    return answer.status_code, answer.text


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []

    def note(values: object) -> dict[str, object]:
        seen.append(values)
        return {"slots": 8, "again_s": 1.0}

    monkeypatch.setattr(reports, "note", note)
    return seen


def test_a_worker_understands_the_answer_to_its_report(noted: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    status, body = ask()
    assert (status, body) == (200, '{"slots":8,"again_s":1.0}')
    assert noted == [{"pool": "cpu", "host": "a", "held": 2, "in_force": 8, "takes": True, "marked": False}]
    worker = SlotReports("http://web/airfleet/workers/cpu/a", "k")
    monkeypatch.setattr(worker, "_send", lambda _: TestClient(app).get(f"/cpu/a?{QUERY}", headers=sign()).json())
    worker.report = SlotReport(2, 8, takes=True)
    assert (worker.turn(), worker.slots) == (1.0, 8)


def sign() -> dict[str, str]:
    moment = int(time.time())
    words = slot_limit.describe(PLACE, QUERY)
    signature = signed_requests.sign(conf.get("api", "secret_key"), words, moment)
    return {signed_requests.TIME_HEADER: str(moment), signed_requests.SIGNATURE_HEADER: signature}


def test_a_report_that_is_not_signed_or_was_changed_is_refused(noted: list[object]) -> None:
    assert ask("another key")[0] == 403
    assert ask(sent="held=0&in_force=8&takes=1")[0] == 403
    assert TestClient(app).get(f"/cpu/a?{QUERY}").status_code == 403
    assert ask(query="held=-1&in_force=8&takes=1")[0] == 422
    assert noted == []


def test_a_worker_without_a_rule_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "note", lambda values: None)
    assert ask()[0] == 404
