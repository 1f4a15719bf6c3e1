"""Pools are scaled, and workers drained, on the Fleet pages: what is written, refused and audited."""

from __future__ import annotations

from dataclasses import replace

import pytest

import invented_fleet
from airfleet_provider.console.rights import Rights
from console_bench import SCALE, Bench, name_case
from invented_fleet import ADMIN, TEAM, VIEWER


@pytest.mark.parametrize("slots", [12, None])
def test_a_pool_is_scaled(bench: Bench, slots: int | None) -> None:
    assert bench.as_user(ADMIN).post(SCALE, json={"slots": slots, "reason": "a test"}).status_code == 200
    assert bench.scaled == [{"pool": "cpu", "slots": slots, "actor": "admin", "reason": "a test"}]
    assert bench.readings.forgotten == ["pools"]


@pytest.mark.parametrize(
    ("rights", "pool", "slots", "status"),
    [
        (VIEWER, "cpu", 12, 403),
        (replace(TEAM, operates=True), "cpu", 12, 403),
        (ADMIN, "gpu", 12, 404),
        (ADMIN, "cpu", 1, 422),  # fewer than the pool has workers
        (ADMIN, "cpu", 33, 422),
    ],
    ids=name_case,
)
def test_a_refused_scale_changes_nothing_and_is_audited(
    bench: Bench, rights: Rights, pool: str, slots: int, status: int
) -> None:
    body = {"slots": slots, "reason": "a test"}
    assert bench.as_user(rights).post(f"/pools/{pool}/scale", json=body).status_code == status
    assert bench.scaled == []
    assert [(one["by"], one["event"], one["status"]) for one in bench.audited] == [
        (rights.name, "airfleet_scale_pool_refused", status)
    ]


def test_a_scale_needs_a_reason_and_waits_for_the_first_decision(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.as_user(ADMIN).post(SCALE, json={"slots": 12, "reason": ""}).status_code == 422
    undecided = tuple(replace(one, fewest=None, highest=None) for one in invented_fleet.make_pools())
    monkeypatch.setattr(bench.readings, "read_pools", lambda: undecided)
    assert bench.as_user(ADMIN).post(SCALE, json={"slots": 12, "reason": "a test"}).status_code == 409
    assert bench.scaled == []


@pytest.mark.parametrize(
    ("target", "workers"),
    [
        ({"pool": "cpu", "host": "w1"}, [("cpu", "w1")]),
        ({"host": "w1"}, [("cpu", "w1"), ("io", "w1")]),
        ({"pool": "cpu"}, [("cpu", "w1"), ("cpu", "w2")]),
    ],
    ids=str,
)
def test_a_worker_a_host_and_a_pool_are_drained(
    bench: Bench, target: dict[str, str], workers: list[tuple[str, str]]
) -> None:
    assert bench.as_user(ADMIN).post("/workers/drain", json={**target, "reason": "a test"}).status_code == 200
    assert bench.turned == [{"workers": workers, "actor": "admin", "reason": "a test", "drained": True}]
    assert bench.readings.forgotten == ["pools"]


def test_what_a_page_has_drained_is_resumed_there_and_what_a_command_has_drained_is_not(bench: Bench) -> None:
    client = bench.as_user(ADMIN)
    assert client.post("/workers/resume", json={"host": "w5", "reason": "a test"}).status_code == 200
    assert bench.turned == [{"workers": [("io", "w5")], "actor": "admin", "reason": "a test", "drained": False}]
    refused = client.post("/workers/resume", json={"host": "w6", "reason": "a test"})
    assert (refused.status_code, "airfleet workers resume io@w6" in refused.text) == (409, True)
    assert client.post("/workers/resume", json={"host": "w2", "reason": "a test"}).status_code == 409
    assert len(bench.turned) == 1
    assert [(one["event"], one["status"]) for one in bench.audited] == [("airfleet_resume_worker_refused", 409)] * 2


@pytest.mark.parametrize(
    ("rights", "target", "status"),
    [
        (VIEWER, {"host": "w1"}, 403),
        (replace(TEAM, operates=True), {"host": "w1"}, 403),
        (ADMIN, {"host": "elsewhere"}, 404),
        (ADMIN, {"host": "w3", "pool": "cpu"}, 404),
    ],
    ids=name_case,
)
def test_a_refused_drain_changes_nothing_and_is_audited(
    bench: Bench, rights: Rights, target: dict[str, str], status: int
) -> None:
    client = bench.as_user(rights)
    assert client.post("/workers/drain", json={**target, "reason": "a test"}).status_code == status
    assert bench.turned == []
    assert [(one["by"], one["event"], one["status"]) for one in bench.audited] == [
        (rights.name, "airfleet_drain_worker_refused", status)
    ]


def test_a_drain_names_what_and_why(bench: Bench) -> None:
    for body in ({"reason": "everything"}, {"host": "w1", "reason": ""}, {"host": "w1"}, {"host": "", "reason": "a"}):
        assert bench.as_user(ADMIN).post("/workers/drain", json=body).status_code == 422
    assert bench.turned == []
