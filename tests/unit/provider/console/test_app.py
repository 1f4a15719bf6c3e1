"""The API of the Fleet pages: what it answers when nothing changed, in an outage, and without airfleet's tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

import invented_fleet
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.console import inquiry_views
from airfleet_provider.console.desk import Desk
from airfleet_provider.contract.archive_list import RunSearch
from airfleet_provider.log_index.store import LogStoreError
from console_bench import PAGES, Bench
from invented_fleet import ADMIN, TEAM


def test_a_time_line_of_the_past_ends_at_its_moment(bench: Bench) -> None:
    client = bench.as_user(ADMIN)
    shown = client.get("/incident?hours=24&until=2026-11-29T08:00:00Z").json()
    assert (shown["since"], shown["until"]) == ("2026-11-28T08:00:00+00:00", "2026-11-29T08:00:00+00:00")
    for words in ("hours=100000", "until=0001-01-01T00:00:00Z", "until=yesterday"):
        assert client.get(f"/incident?{words}").status_code == 422


def test_an_index_that_does_not_answer_is_503(bench: Bench) -> None:
    bench.index.error = LogStoreError("the log store at l1 does not answer")
    answer = bench.as_user(ADMIN).get("/logs")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the log store at l1 does not answer")


def test_a_page_that_has_not_changed_is_not_sent_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    board = invented_fleet.make_alerts()
    monkeypatch.setattr(bench.readings, "read_alerts", lambda: board)
    client = bench.as_user(ADMIN)
    first = client.get("/alerts")
    again = client.get("/alerts", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "private" in first.headers["Cache-Control"]


def test_an_outage_of_the_database_is_503(bench: Bench) -> None:
    bench.readings.error = OperationalError("SELECT 1", {}, Exception("the server closed the connection"))
    for name in PAGES:
        answer = bench.as_user(ADMIN).get(f"/{name}")
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["detail"]


def test_a_platform_without_own_tables_still_has_an_overview(bench: Bench) -> None:
    bench.readings.has_tables = False
    client = bench.as_user(ADMIN)
    assert client.get("/overview").status_code == 200
    for name in ("releases", "slas", "alerts", "breakers"):
        assert client.get(f"/{name}").status_code == 404


def test_an_outage_is_met_once_by_all_that_want_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def fail() -> Any:  # noqa: ANN401 - never returns
        tried.append("database")
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    monkeypatch.setattr(metadata_db, "open_snapshot", fail)
    desk = Desk()
    for ask in (desk.readings.read_alerts, desk.readings.read_report, lambda: desk.rights.get("ann", fail)):
        for _ in range(3):
            with pytest.raises(OperationalError):
                ask()
    assert len(tried) == 3


def test_archived_runs_are_found_with_the_command_that_restores_them(bench: Bench) -> None:
    words = {"dag": "sales", "since": "2026-08-01", "until": "2026-09-01T00:00:00Z", "text": "manual"}
    answer = bench.as_user(TEAM).get("/archive/runs", params=words)
    assert answer.status_code == 200
    (asked,) = bench.readings.searched
    assert asked == RunSearch("sales", datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC), "manual")
    found = answer.json()
    assert [one["state"] for one in found["runs"]] == ["success", None]
    assert found["runs"][0]["command"].startswith("airfleet db archive restore --dag sales --from ")
    assert [one["dag_id"] for one in bench.as_user(TEAM).get("/archive").json()["dags"]] == ["sales"]


def test_a_restore_is_a_command_that_a_shell_reads_as_it_is_and_that_holds_all_runs() -> None:
    first, last = datetime(2026, 8, 1, 5, 0, 0, 900, tzinfo=UTC), datetime(2026, 8, 2, 5, tzinfo=UTC)
    assert inquiry_views.write_restore("a b;c", first, last) == (
        "airfleet db archive restore --dag 'a b;c' --from 2026-08-01T05:00:00Z --to 2026-08-02T05:00:01Z"
    )
