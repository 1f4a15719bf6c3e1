"""Releases are rolled back on the Fleet pages: what is requested, refused and audited."""

from __future__ import annotations

from dataclasses import replace

import pytest

import invented_fleet
from airfleet_provider.console.rights import Rights
from console_bench import Bench
from invented_fleet import ADMIN, VIEWER, WATCHER


def ask_rollback(bench: Bench, rights: Rights | None, **changes: str | None) -> int:
    live = invented_fleet.make_releases().live
    assert live is not None
    body = {"live": live.id, "release": None, "reason": "twice as many tasks fail", **changes}
    return bench.as_user(rights).post("/releases/rollback", json=body).status_code


def test_a_rollback_is_requested_and_audited(bench: Bench) -> None:
    assert ask_rollback(bench, ADMIN) == 200
    (requested,) = bench.requested
    assert (requested["action"], requested["release"], requested["actor"]) == ("rollback", None, "admin")
    (audited,) = bench.audited
    assert (audited["event"], audited["deployment"], audited["status"]) == ("airfleet_roll_back", 10, 200)


def test_an_earlier_release_is_live_again_by_name(bench: Bench) -> None:
    (earlier,) = [one.id for one in invented_fleet.make_releases().releases if one.was_live]
    assert ask_rollback(bench, ADMIN, release=earlier) == 200
    assert [one["release"] for one in bench.requested] == [earlier]


@pytest.mark.parametrize(
    ("rights", "changes", "status"),
    [
        (VIEWER, {}, 403),
        (replace(WATCHER, name="half", operates=True), {}, 403),
        (ADMIN, {"live": "r-that-was-live-a-minute-ago"}, 409),
        (ADMIN, {"release": "r-of-nobody"}, 404),
        (ADMIN, {"release": "r" + "c" * 64}, 404),  # it has never been live, so its checks have not run
    ],
)
def test_a_refused_rollback_requests_nothing_and_is_audited(
    bench: Bench, rights: Rights, changes: dict[str, str], status: int
) -> None:
    assert ask_rollback(bench, rights, **changes) == status
    assert bench.requested == []
    assert [(one["event"], one["status"]) for one in bench.audited] == [("airfleet_roll_back_refused", status)]


def test_a_rollback_needs_a_reason_and_a_login(bench: Bench) -> None:
    assert ask_rollback(bench, ADMIN, reason="") == 422
    assert ask_rollback(bench, None) == 401
    assert bench.requested == []


@pytest.mark.parametrize("name", ["live", "release", "reason"])
def test_a_rollback_writes_no_long_texts_to_the_audit_log(bench: Bench, name: str) -> None:
    assert ask_rollback(bench, VIEWER, **{name: "r" * 10_000}) == 422
    assert bench.audited == []


def test_a_rollback_waits_for_the_end_of_a_deployment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    board = invented_fleet.make_releases()
    busy = replace(board, deployments=(replace(board.deployments[0], state="parsing"), *board.deployments))
    monkeypatch.setattr(bench.readings, "read_releases", lambda: busy)
    assert ask_rollback(bench, ADMIN) == 409
    assert bench.requested == []
