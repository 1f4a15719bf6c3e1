"""Who gets which of the Fleet pages, and which Dags these pages name."""

from __future__ import annotations

from dataclasses import replace

import pytest

import invented_fleet
import invented_inquiries
from airfleet_provider.console import views
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract.explanation.facts import Facts, OpenBreaker, PlatformFacts
from airfleet_provider.contract.explanation.model import Subject
from airfleet_provider.contract.run_trace import reading as trace_reading
from airfleet_provider.slas.reports import Total
from console_bench import ACKNOWLEDGE, PAGES, SCALE, TURNS, Bench, name_case
from invented_fleet import ADMIN, TEAM, VIEWER, WATCHER


@pytest.mark.parametrize("path", [*(f"/{name}" for name in PAGES), "/explain?dag=sales"])
def test_nobody_reads_a_page_without_a_login(bench: Bench, path: str) -> None:
    assert bench.as_user(None).get(path).status_code == 401


def test_nobody_changes_anything_without_a_login(bench: Bench) -> None:
    for path in (ACKNOWLEDGE, "/alerts/17/silence", "/silences/3/end", "/releases/rollback", SCALE, *TURNS):
        assert bench.as_user(None).post(path, json={}).status_code == 401
    assert bench.acknowledged == []


@pytest.mark.parametrize(
    ("rights", "allowed"),
    [
        (ADMIN, PAGES),
        (VIEWER, PAGES[:-1]),
        (WATCHER, ("overview", "pools", "slas", "alerts", "breakers", "backups", "archive")),
        (TEAM, ("slas", "alerts", "archive")),
        (Rights("nobody", frozenset(), reads_all=False, sees_platform=False, operates=False), ()),
    ],
    ids=name_case,
)
def test_each_page_needs_its_right(bench: Bench, rights: Rights, allowed: tuple[str, ...]) -> None:
    client = bench.as_user(rights)
    for name in PAGES:
        answer = client.get(f"/{name}")
        assert answer.status_code == (200 if name in allowed else 403), name
        if name not in allowed:
            assert "you need the right" in answer.json()["detail"]


@pytest.mark.parametrize("rights", [TEAM, WATCHER], ids=name_case)
@pytest.mark.parametrize("name", PAGES)
def test_no_page_names_a_dag_that_the_user_may_not_read(bench: Bench, name: str, rights: Rights) -> None:
    answer = bench.as_user(rights).get(f"/{name}")
    assert "stock" not in answer.text
    assert "tariff" not in answer.text  # a file of the other team's


def test_a_user_sees_the_own_dags(bench: Bench) -> None:
    client = bench.as_user(WATCHER)
    pools = client.get("/pools").json()
    assert [one["dag"] for one in pools["slowest"]] == ["sales"]
    assert pools["hides_dags"]
    assert pools["slot_pools"][0]["used"] == 11  # the figures are those of the whole slot pool
    assert [one["subject"] for one in client.get("/slas").json()["promises"]] == ["sales"]


def test_an_alert_of_the_platform_is_for_those_who_see_the_platform(bench: Bench) -> None:
    assert bench.as_user(TEAM).get("/alerts").json()["alerts"] == []
    assert [one["id"] for one in bench.as_user(WATCHER).get("/alerts").json()["alerts"]] == [17, 16]


def test_who_reads_one_dag_and_audit_logs_sees_no_change_of_others(bench: Bench) -> None:
    assert bench.as_user(replace(TEAM, audits=True)).get("/audit").status_code == 403
    assert bench.as_user(ADMIN).get("/audit").status_code == 200


def test_only_readers_of_a_dag_get_its_explanation(bench: Bench) -> None:
    assert bench.as_user(TEAM).get("/explain?dag=stock").status_code == 403


def test_an_explanation_does_not_say_who_opened_a_breaker_unless_the_user_reads_every_dag() -> None:
    moment = invented_fleet.ago(60)
    why = "2 tasks failed, the last with stock.TariffError"
    breaker = OpenBreaker("crm", "open", moment, None, 0, why, "eve@desk", 1, "load")
    facts = Facts(invented_fleet.ago(0), Subject("sales"), PlatformFacts(), breakers=(breaker,))
    facts = replace(facts, run_facts=(facts,))
    hidden = views.hide_holders(TEAM, facts)
    assert [(one.reason, one.actor) for one in (*hidden.breakers, *hidden.run_facts[0].breakers)] == [("", "")] * 2
    assert views.hide_holders(ADMIN, facts) == facts


def test_a_report_shows_the_own_dags_also_if_their_ids_have_dots() -> None:
    def promise(subject: str, dag: str | None) -> Total:
        return Total("morning", "finished-by", subject, dag, 1, 0, 0, None)

    report = [promise("team.sales.load", "team.sales"), promise("team.stock", "team.stock"), promise("asset x", None)]
    board = invented_fleet.make_promises()
    own = replace(TEAM, dags=frozenset({"team.sales"}))
    # A Dag with the id `team` says nothing about team.stock.
    prefix = replace(TEAM, dags=frozenset({"team"}))
    shown = [
        [one["subject"] for one in views.show_promises(rights, board, report)["report"]] for rights in (own, prefix)
    ]
    assert shown == [["team.sales.load"], []]


def test_only_readers_of_a_dag_get_the_traces_of_its_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = {("sales", "r1"): invented_inquiries.make_trace(500)}
    monkeypatch.setattr(trace_reading, "read", lambda _, dag, run: read.get((dag, run)))
    client = bench.as_user(TEAM)
    shown = client.get("/trace?dag=sales&run=r1").json()
    assert (len(shown["tries"]), shown["hidden"]) == (200, 305)
    assert {"extract", "load", "load try 2", "report"} <= {one["name"] for one in shown["tries"] if one["is_critical"]}
    assert client.get("/trace?dag=sales&run=r2").status_code == 404
    assert client.get("/trace?dag=stock&run=r1").status_code == 403
    assert bench.as_user(None).get("/trace?dag=sales&run=r1").status_code == 401


def test_a_time_line_shows_what_people_changed_only_to_auditors(bench: Bench) -> None:
    def list_kinds(rights: Rights) -> set[str]:
        return {one["kind"] for one in bench.as_user(rights).get("/incident").json()["events"]}

    assert list_kinds(ADMIN) - list_kinds(VIEWER) == {"change"}
    assert "alert" in list_kinds(VIEWER)


@pytest.mark.parametrize(
    ("rights", "status"), [(ADMIN, 200), (VIEWER, 200), (WATCHER, 403), (TEAM, 403)], ids=name_case
)
def test_all_logs_are_for_those_who_read_every_dag_and_the_platform(bench: Bench, rights: Rights, status: int) -> None:
    answer = bench.as_user(rights).get("/logs?text=price")
    assert answer.status_code == status
    assert ("stock" in answer.text) == (status == 200)
    assert len(bench.index.asked) == (status == 200)


def test_logs_of_a_dag_are_for_its_readers_and_show_no_other_dag(bench: Bench) -> None:
    client = bench.as_user(TEAM)
    shown = client.get("/logs?dag=sales&level=warning")
    assert {one["dag"] for one in shown.json()["lines"]} == {"sales"}
    assert "stock" not in shown.text
    assert (bench.index.asked[0].dag, bench.index.asked[0].levels) == ("sales", ("warning", "error", "critical"))
    assert client.get("/logs?dag=stock").status_code == 403
    assert bench.as_user(None).get("/logs?dag=sales").status_code == 401


@pytest.mark.parametrize("dag", ["stock", "elsewhere", ""])
def test_archived_runs_of_a_dag_that_somebody_may_not_read_are_not_found(bench: Bench, dag: str) -> None:
    assert bench.as_user(TEAM).get("/archive/runs", params={"dag": dag}).status_code == 403
    assert bench.readings.searched == []
