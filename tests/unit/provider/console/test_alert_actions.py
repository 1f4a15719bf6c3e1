"""Alerts are acknowledged and silenced on the Fleet pages: what is written, refused and audited."""

from __future__ import annotations

import pytest

from airfleet_provider.console.rights import Rights
from airfleet_provider.contract import alert_list
from console_bench import ACKNOWLEDGE, SCALE, TURNS, Bench, name_case
from invented_fleet import ADMIN, TEAM, VIEWER


def test_an_acknowledgement_is_written_and_audited(bench: Bench) -> None:
    assert bench.as_user(ADMIN).post(ACKNOWLEDGE, json={"note": "disk is extended"}).status_code == 200
    assert bench.acknowledged == [{"alert": 17, "actor": "admin", "via": "ui", "note": "disk is extended"}]
    assert bench.audited == [
        {"by": "admin", "event": "airfleet_acknowledge_alert", "alert": 17, "note": "disk is extended", "status": 200}
    ]
    assert bench.readings.forgotten == ["alerts"]  # the next page shows it


@pytest.mark.parametrize(
    ("rights", "alert", "status"), [(VIEWER, 17, 403), (TEAM, 17, 403), (ADMIN, 4711, 404)], ids=name_case
)
def test_a_refused_try_changes_nothing_and_is_audited(bench: Bench, rights: Rights, alert: int, status: int) -> None:
    assert bench.as_user(rights).post(f"/alerts/{alert}/acknowledge", json={}).status_code == status
    assert bench.acknowledged == []
    assert [(one["by"], one["alert"], one["status"]) for one in bench.audited] == [(rights.name, alert, status)]
    assert [one["event"] for one in bench.audited] == ["airfleet_acknowledge_alert_refused"]


def test_a_form_of_another_site_is_no_acknowledgement(bench: Bench) -> None:
    client = bench.as_user(ADMIN)
    assert client.post(ACKNOWLEDGE, data={"note": "x"}).status_code == 415
    assert client.post("/silences/3/end").status_code == 415
    text = {"content-type": "text/plain"}  # which a page of another port of this host may send with the cookie
    for path in (ACKNOWLEDGE, "/alerts/17/silence", "/silences/3/end", "/releases/rollback", SCALE, *TURNS):
        assert client.post(path, content="{}", headers=text).status_code == 415
    assert (bench.acknowledged, bench.audited) == ([], [])


SILENCE = {"seconds": 3600, "comment": "the disk is extended"}


def test_a_silence_is_written_and_audited(bench: Bench) -> None:
    assert bench.as_user(ADMIN).post("/alerts/17/silence", json=SILENCE).json() == {"silence": 4}
    assert bench.silenced == [{"name": "DiskFull", "actor": "admin", **SILENCE}]
    assert [(one["event"], one["silence"], one["status"]) for one in bench.audited] == [
        ("airfleet_silence_alert", 4, 200)
    ]


@pytest.mark.parametrize(("rights", "alert", "status"), [(VIEWER, 17, 403), (ADMIN, 4711, 404)], ids=name_case)
def test_a_refused_silence_is_audited(bench: Bench, rights: Rights, alert: int, status: int) -> None:
    assert bench.as_user(rights).post(f"/alerts/{alert}/silence", json=SILENCE).status_code == status
    assert bench.silenced == []
    assert [(one["by"], one["event"], one["status"]) for one in bench.audited] == [
        (rights.name, "airfleet_silence_alert_refused", status)
    ]


def test_a_silence_of_an_alert_that_is_gone_is_audited_as_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_list, "match_alert", lambda _, alert: None)
    assert bench.as_user(ADMIN).post("/alerts/17/silence", json=SILENCE).status_code == 404
    assert [(one["event"], one["status"]) for one in bench.audited] == [("airfleet_silence_alert_refused", 404)]


def test_a_silence_has_an_end_and_a_reason(bench: Bench) -> None:
    client = bench.as_user(ADMIN)
    for changes in ({"seconds": 1e9}, {"seconds": 0}, {"comment": ""}):
        assert client.post("/alerts/17/silence", json={**SILENCE, **changes}).status_code == 422
    assert bench.silenced == []


@pytest.mark.parametrize(
    ("rights", "number", "status"), [(ADMIN, 3, 200), (ADMIN, 5, 404), (VIEWER, 3, 403)], ids=name_case
)
def test_a_silence_is_ended_and_audited(bench: Bench, rights: Rights, number: int, status: int) -> None:
    assert bench.as_user(rights).post(f"/silences/{number}/end", json={}).status_code == status
    event = "airfleet_end_silence" if status == 200 else "airfleet_end_silence_refused"
    assert [(one["event"], one["status"]) for one in bench.audited] == [(event, status)]
