"""The API of the Fleet pages: who gets what, what a change leaves behind, and what an outage looks like."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

import invented_fleet
from airfleet_provider.compat.calls import logins, metadata_db
from airfleet_provider.console import inquiry_views, views
from airfleet_provider.console.app import make_app
from airfleet_provider.console.desk import Desk
from airfleet_provider.console.log_desk import LogDesk
from airfleet_provider.console.readings import (
    AlertBoard,
    BackupBoard,
    BreakerBoard,
    PlatformActivity,
    PromiseBoard,
    ReleaseBoard,
)
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract import alert_list, alert_schema, release_list, slot_list
from airfleet_provider.contract.archive_list import ArchivedDag, ArchivedRuns, RunSearch
from airfleet_provider.contract.audit_log import Row
from airfleet_provider.contract.explanation.facts import Facts, OpenBreaker, PlatformFacts
from airfleet_provider.contract.explanation.model import Subject
from airfleet_provider.contract.incident.events import TimeLine
from airfleet_provider.contract.notification_policy import Matcher
from airfleet_provider.contract.run_trace import reading as trace_reading
from airfleet_provider.contract.slot_list import ScalingPool
from airfleet_provider.log_index.store import FoundLines, LogQuery, LogStoreError
from airfleet_provider.processes.cache import Cache
from airfleet_provider.slas.reports import Total
from invented_fleet import ADMIN, TEAM, VIEWER, WATCHER

PAGES = ("overview", "pools", "releases", "slas", "alerts", "breakers", "backups", "archive", "incident", "audit")
ACKNOWLEDGE = "/alerts/17/acknowledge"
SCALE = "/pools/cpu/scale"
TURNS = ("/workers/drain", "/workers/resume")


def name_case(value: object) -> str:
    return str(getattr(value, "name", value))


class InventedReadings:
    """Reads an invented platform; `error` is raised in its place."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.has_tables = True
        self.forgotten: list[str] = []
        self.searched: list[RunSearch] = []

    def read_activity(self) -> PlatformActivity:
        self._answer()
        return invented_fleet.make_activity()

    def read_pools(self) -> tuple[ScalingPool, ...] | None:
        return invented_fleet.make_pools() if self._answer() else None

    def read_alerts(self) -> AlertBoard | None:
        return invented_fleet.make_alerts() if self._answer() else None

    def read_releases(self) -> ReleaseBoard | None:
        return invented_fleet.make_releases() if self._answer() else None

    def read_promises(self) -> PromiseBoard | None:
        return invented_fleet.make_promises() if self._answer() else None

    def read_breakers(self) -> BreakerBoard | None:
        return invented_fleet.make_breakers() if self._answer() else None

    def read_changes(self) -> list[Row] | None:
        return invented_fleet.make_changes() if self._answer() else None

    def read_report(self) -> list[Total] | None:
        return invented_fleet.make_report() if self._answer() else None

    def read_backups(self) -> BackupBoard:
        self._answer()
        return invented_fleet.make_backups()

    def read_archive(self) -> tuple[ArchivedDag, ...] | None:
        return invented_fleet.make_archive() if self._answer() else None

    def find_runs(self, search: RunSearch) -> ArchivedRuns | None:
        self.searched.append(search)
        return invented_fleet.make_archived_runs() if self._answer() else None

    def read_incident(self, span: timedelta) -> TimeLine:
        self._answer()
        return replace(invented_fleet.make_incident(), since=invented_fleet.ago(span.total_seconds()))

    def read_past(self, since: datetime, until: datetime) -> TimeLine:
        self._answer()
        return replace(invented_fleet.make_incident(), since=since, until=until)

    def forget(self, what: str) -> None:
        self.forgotten.append(what)

    def _answer(self) -> bool:
        if self.error:
            raise self.error
        return self.has_tables


class InventedIndex:
    """An index of logs, which notes what it is asked, and does not answer while there is an `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[LogQuery] = []

    def search(self, question: LogQuery, most: int) -> FoundLines:
        if self.error:
            raise self.error
        self.asked.append(question)
        # Even if the index returned lines of other Dags, nobody may see them.
        return invented_fleet.make_lines()


@dataclass
class Bench:
    """The application, and what it did. `as_user` returns a client that is logged in with these rights."""

    readings: InventedReadings
    as_user: Callable[[Rights | None], TestClient]
    index: InventedIndex
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    requested: list[dict[str, Any]] = field(default_factory=list)
    silenced: list[dict[str, Any]] = field(default_factory=list)
    scaled: list[dict[str, Any]] = field(default_factory=list)
    turned: list[dict[str, Any]] = field(default_factory=list)
    audited: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    readings: Any = InventedReadings()
    index: Any = InventedIndex()

    def log_in(rights: Rights | None) -> TestClient:
        @contextmanager
        def query() -> Iterator[Any]:
            known = [{"dag": one} for one in ("sales", "stock")]
            yield lambda _statement, _values: known

        session = SimpleNamespace(connection=lambda: SimpleNamespace(connection=None))
        desk = Desk(query, lambda: nullcontext(session), readings, Cache(0), LogDesk(lambda: index))
        made = make_app(desk)
        if rights is not None:
            user = SimpleNamespace(get_id=lambda: rights.name, get_name=lambda: rights.name)
            made.dependency_overrides[logins.get_user] = lambda: user
            monkeypatch.setattr(logins, "read_dags", lambda _: rights.dags)
            monkeypatch.setattr(logins, "may_see_platform", lambda _: rights.sees_platform)
            monkeypatch.setattr(logins, "may_operate", lambda _: rights.operates)
            monkeypatch.setattr(logins, "may_audit", lambda _: rights.audits)
            monkeypatch.setattr(logins, "may_read_dag", lambda _, dag: dag in rights.dags)
            monkeypatch.setattr(logins, "may_read_logs", lambda _, dag: dag is None or dag in rights.dags)
        return TestClient(made)

    found = Bench(readings, log_in, index)

    def record(_: object, user: SimpleNamespace, event: str, extra: dict[str, Any]) -> None:
        found.audited.append({"by": user.get_name(), "event": event, **extra})

    monkeypatch.setattr(logins, "record", record)

    def acknowledge(_: object, alert: int, **words: str) -> bool:
        found.acknowledged.append({"alert": alert, **words})
        return True

    def request(_: object, bundle: str, action: str, release: str | None, **words: object) -> int:
        found.requested.append({"bundle": bundle, "action": action, "release": release, **words})
        return 10

    monkeypatch.setattr(alert_schema, "acknowledge", acknowledge)

    def silence(_: object, matcher: Matcher, seconds: float, **words: str) -> int:
        found.silenced.append({"name": matcher.name, "seconds": seconds, **words})
        return 4

    monkeypatch.setattr(alert_list, "match_alert", lambda _, alert: Matcher(name="DiskFull"))
    monkeypatch.setattr(alert_list, "silence", silence)
    monkeypatch.setattr(alert_list, "end_silence", lambda _, number: number == 3)

    def scale(_: object, pool: str, slots: int | None, **words: str) -> None:
        found.scaled.append({"pool": pool, "slots": slots, **words})

    def turn(_: object, workers: list[tuple[str, str]], **words: object) -> None:
        found.turned.append({"workers": workers, **words})

    monkeypatch.setattr(slot_list, "scale", scale)
    monkeypatch.setattr(slot_list, "drain", turn)
    monkeypatch.setattr(release_list, "request", request)
    monkeypatch.setattr(release_list, "touch", lambda _, release: "database")
    return found


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
    read = {("sales", "r1"): invented_fleet.make_trace(500)}
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


def test_a_time_line_of_the_past_ends_at_its_moment(bench: Bench) -> None:
    client = bench.as_user(ADMIN)
    shown = client.get("/incident?hours=24&until=2026-11-29T08:00:00Z").json()
    assert (shown["since"], shown["until"]) == ("2026-11-28T08:00:00+00:00", "2026-11-29T08:00:00+00:00")
    for words in ("hours=100000", "until=0001-01-01T00:00:00Z", "until=yesterday"):
        assert client.get(f"/incident?{words}").status_code == 422


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


@pytest.mark.parametrize("dag", ["stock", "elsewhere", ""])
def test_archived_runs_of_a_dag_that_somebody_may_not_read_are_not_found(bench: Bench, dag: str) -> None:
    assert bench.as_user(TEAM).get("/archive/runs", params={"dag": dag}).status_code == 403
    assert bench.readings.searched == []


def test_a_restore_is_a_command_that_a_shell_reads_as_it_is_and_that_holds_all_runs() -> None:
    first, last = datetime(2026, 8, 1, 5, 0, 0, 900, tzinfo=UTC), datetime(2026, 8, 2, 5, tzinfo=UTC)
    assert inquiry_views.write_restore("a b;c", first, last) == (
        "airfleet db archive restore --dag 'a b;c' --from 2026-08-01T05:00:00Z --to 2026-08-02T05:00:01Z"
    )


ODD_TEXTS = ("\0", "a\0b", "\ud800", "\x1b[2J")
WRITTEN = (
    ("/alerts/17/acknowledge", {"note": "*"}),
    ("/alerts/17/silence", {"seconds": 3600, "comment": "*"}),
    ("/releases/rollback", {"live": "r2", "release": "*", "reason": "why"}),
    ("/releases/rollback", {"live": "*", "reason": "why"}),
    ("/releases/rollback", {"live": "r2", "reason": "*"}),
    ("/pools/cpu/scale", {"slots": 2, "reason": "*"}),
    ("/workers/drain", {"host": "cpu1", "reason": "*"}),
    ("/workers/resume", {"pool": "*", "reason": "why"}),
    ("/workers/resume", {"host": "cpu1", "reason": "why", "more": [{"*": 1}]}),
)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
@pytest.mark.parametrize(("path", "body"), WRITTEN)
def test_no_control_character_reaches_the_database(bench: Bench, path: str, body: dict[str, Any], text: str) -> None:
    written = json.dumps(body).replace('"*"', json.dumps(text))
    answer = bench.as_user(ADMIN).post(path, content=written, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (422, {"detail": "a text has control characters"})
    assert not (bench.acknowledged or bench.silenced or bench.requested or bench.scaled or bench.turned)
    assert not bench.audited


def test_every_route_refuses_control_characters_in_its_address(bench: Bench) -> None:
    client = bench.as_user(ADMIN)
    routes = [one for one in make_app(Desk()).routes if isinstance(one, APIRoute)]
    assert len(routes) > 15
    for route in routes:
        (method,) = route.methods
        path = route.path.replace("{alert}", "17").replace("{number}", "3")
        odd = [route.path.replace("{pool}", "a%00b")] if "{pool}" in path else []
        for address in (*odd, f"{path}?dag=a%00b", f"{path}?%1b=1"):
            answer = client.request(method, address, headers={"content-type": "application/json"})
            assert answer.status_code == 422, address


def test_a_reason_may_have_lines_and_letters_of_any_language(bench: Bench) -> None:
    body = {"seconds": 3600, "comment": "Wartung:\r\n\tüber Nacht \U0001f600"}
    assert bench.as_user(ADMIN).post("/alerts/17/silence", json=body).status_code == 200
