"""Events of OpenLineage go from the database to facts and to backends, each once, on a real PostgreSQL.

The backends are servers of this test that hold airfleet to the documented API of each: paths, headers and answers. No
Marquez, DataHub or OpenMetadata runs here.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from openlineage.client.event_v2 import InputDataset, RunState

import killed_lines
from airfleet_provider.agent_loops.loop import connect
from airfleet_provider.lineage_events import loop, store
from airfleet_provider.task_records import handover
from lineage_platform import LineagePlatform, make_event


def test_an_event_becomes_facts_and_goes_to_each_backend_by_its_own_api(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = platform.add_attempt()
    # The job of the event is a claim of the task. What counts is whose token came with it.
    platform.emit(instance, monkeypatch, make_event("payroll.pay"))
    platform.emit(instance, monkeypatch, make_event(kind=RunState.START))
    [*files] = platform.folder.iterdir()
    assert len(files) == 2, "each client has a file"
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    assert not any(b"s3cret-word" in one.read_bytes() for one in files)
    platform.hand_over(instance).finish()
    assert not list(platform.folder.iterdir())
    platform.turn()
    platform.turn()
    sent = {path: platform.backend.list_taken(path) for path in {one["path"] for one in platform.backend.seen}}
    assert {path: len(ones) for path, ones in sent.items()} == {
        "/api/v1/lineage": 2,
        "/openapi/openlineage/api/v1/lineage": 2,
        "/api/v1/openlineage/lineage": 1,
    }, "OpenMetadata gets no event that it makes nothing of"
    tokens = {one["path"]: one.get("Authorization") for one in platform.backend.seen}
    assert tokens["/api/v1/lineage"] == "Bearer t0p-secret-key"
    assert tokens["/api/v1/openlineage/lineage"] is None
    for event in sent["/api/v1/lineage"]:
        assert event.keys() >= {"eventType", "eventTime", "run", "job", "producer", "schemaURL", "inputs", "outputs"}
        assert uuid.UUID(event["run"]["runId"])
    uses = platform.query("SELECT dag_id, task_id, namespace, name, is_output, columns FROM airfleet.dataset_use")
    assert sorted((one["dag_id"], one["name"], one["is_output"], one["columns"]) for one in uses) == [
        ("sales", "dwh.marts.sales", True, ["total"]),
        ("sales", "dwh.raw.orders", False, []),
    ]
    assert {one["namespace"] for one in uses} == {"postgres://wh:5432"}
    [column] = platform.query("SELECT * FROM airfleet.column_use")
    assert (column["field"], column["from_name"], column["from_field"], column["how"]) == (
        "total",
        "dwh.raw.orders",
        "amount",
        "AGGREGATION",
    )


def test_a_backend_hears_of_the_start_of_a_task_with_the_time_that_the_database_has(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, older = platform.add_attempt(), platform.add_attempt(task="check")
    began = datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)
    platform.query("UPDATE task_instance SET start_date = %s WHERE id = %s", began, instance)
    for kind in (RunState.START, RunState.FAIL):
        platform.emit(instance, monkeypatch, make_event(kind=kind, job_type="TASK"))
    # A query within a task has a start of its own, and the database does not know it.
    for kind in (RunState.START, RunState.COMPLETE):
        platform.emit(instance, monkeypatch, make_event("sales.load.query.1", kind, job_type="QUERY"))
    # The database has forgotten when this one began.
    platform.emit(older, monkeypatch, make_event("sales.check", job_type="TASK"))
    platform.hand_over(instance).finish()
    platform.hand_over(older).finish()
    platform.turn()
    taken = platform.backend.list_taken("/api/v1/lineage")
    assert sorted((one["job"]["name"], one["eventType"]) for one in taken) == [
        ("sales.check", "COMPLETE"),
        ("sales.load", "FAIL"),
        ("sales.load", "START"),
        ("sales.load.query.1", "COMPLETE"),
        ("sales.load.query.1", "START"),
    ]
    start, end = (one for one in taken if one["job"]["name"] == "sales.load")
    assert (start["eventType"], end["eventType"]) == ("START", "FAIL"), "the start comes first"
    assert datetime.fromisoformat(start["eventTime"]) == began
    assert start["run"]["runId"] == end["run"]["runId"]
    assert "errorMessage" not in start["run"]["facets"]
    assert start["outputs"] == [], "nothing is known to be written at a start"
    only = {one["eventType"] for one in platform.backend.list_taken("/api/v1/openlineage/lineage")}
    assert only == {"COMPLETE"}


def test_a_burst_is_sent_bit_by_bit_and_what_waits_for_long_at_once(platform: LineagePlatform) -> None:
    instance = platform.add_attempt()
    body = json.dumps({"eventType": "COMPLETE", "run": {"runId": str(uuid.uuid4())}, "job": {"name": "sales.load"}})
    many = loop.DELIVERIES_PER_TURN + 30

    def add() -> None:
        platform.query(
            "INSERT INTO airfleet.lineage_event (instance, file, place, body)"
            " SELECT %s, %s, place, %s FROM generate_series(1, %s) AS place",
            instance,
            uuid.uuid4().hex,
            body,
            many,
        )

    add()
    platform.turn()
    assert len(platform.backend.list_taken("/api/v1/lineage")) == loop.DELIVERIES_PER_TURN
    platform.turn()
    assert len(platform.backend.list_taken("/api/v1/lineage")) == many
    add()
    platform.backend.status = 503
    platform.turn()
    platform.query("UPDATE airfleet.lineage_delivery SET since = clock_timestamp() - interval '1 hour'")
    platform.backend.status = 201
    platform.now += 301
    platform.turn()
    assert len(platform.backend.list_taken("/api/v1/lineage")) == 2 * many
    assert platform.query("SELECT amount FROM airfleet.record_total WHERE kind = 'events sent'") == [
        {"amount": 4 * many}
    ]


def test_no_death_at_any_line_loses_or_doubles_an_event(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of the hand-over and of the loop dies once. A later attempt of the host and a new process go on."""

    def play(kill_at: killed_lines.Line | None) -> list[killed_lines.Line]:
        instance = platform.add_attempt()
        job = f"sales.t{time.monotonic_ns()}"
        platform.emit(instance, monkeypatch, make_event(job))

        def work() -> None:
            platform.hand_over(instance).finish()
            platform.turn()

        lines = killed_lines.run_until(work, kill_at, handover, loop, store)
        platform.stop()
        platform.start()
        later = platform.add_attempt(task="later")
        platform.hand_over(later, later).finish()
        platform.turn()
        rows = platform.query("SELECT body FROM airfleet.lineage_event WHERE body LIKE %s", f"%{job}%")
        assert len(rows) == 1, kill_at
        got = [one for one in platform.backend.list_taken("/api/v1/lineage") if one["job"]["name"] == job]
        # A backend whose answer was not noted gets the event again: it has the same run and time.
        assert {json.dumps(one, sort_keys=True) for one in got} == {
            json.dumps(json.loads(rows[0]["body"]), sort_keys=True)
        }
        return lines

    lines = play(None)
    assert len(lines) > 60
    for line in lines:
        play(line)
    assert not platform.query("SELECT * FROM airfleet.lineage_delivery")


def test_a_backend_that_is_away_gets_everything_later_and_keeps_no_other_back(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    platform.backend.status = 503
    for task in ("load", "odd", "check"):
        instance = platform.add_attempt(task=task)
        platform.emit(instance, monkeypatch, make_event(f"sales.{task}"))
        platform.hand_over(instance).finish()
    platform.turn()
    platform.turn()
    assert not platform.backend.list_taken("/api/v1/lineage")
    assert len(platform.query("SELECT * FROM airfleet.lineage_delivery")) == 9
    assert "t0p-secret-key" not in caplog.text
    platform.backend.status = 201
    for _ in range(12):
        platform.now += 301
        platform.turn()
    taken = platform.backend.list_taken("/api/v1/lineage")
    assert sorted(one["job"]["name"] for one in taken) == ["sales.check", "sales.load"]
    assert not platform.query("SELECT * FROM airfleet.lineage_delivery"), "what is refused again and again is given up"
    [given_up] = platform.query("SELECT amount FROM airfleet.record_total WHERE kind = 'events given up'")
    assert given_up["amount"] == 3


@pytest.mark.parametrize("name", ["x" * 400, "\0odd", "\ud800", "é" * 300])
def test_no_name_that_a_task_thinks_of_stops_the_loop(
    platform: LineagePlatform, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    instance = platform.add_attempt(dag="d" * 200)
    bad = make_event()
    bad.inputs = [InputDataset(name, name)]
    facet: Any = (bad.outputs[0].facets or {})["columnLineage"]  # type: ignore[index]
    facet.fields[name] = facet.fields["total"]
    platform.emit(instance, monkeypatch, bad)
    platform.emit(instance, monkeypatch, make_event())
    platform.hand_over(instance).finish()
    platform.turn()
    assert not platform.query("SELECT * FROM airfleet.lineage_event WHERE NOT is_read")
    assert platform.query("SELECT * FROM airfleet.dataset_use WHERE name = 'dwh.marts.sales'")


def test_what_is_old_goes_however_much_it_is(platform: LineagePlatform) -> None:
    """A busy fleet writes more spans in an hour than one transaction should remove."""
    platform.query(
        "INSERT INTO airfleet.user_span SELECT gen_random_uuid(), 1, gen_random_uuid(), 1, 0, 's', '', now(), 1, '{}',"
        " now() - interval '91 days' FROM generate_series(1, 45000)"
    )
    platform.query(
        "INSERT INTO airfleet.lineage_event (file, place, instance, arrived_at, is_read, body)"
        " SELECT gen_random_uuid(), 1, gen_random_uuid(), now() - interval '91 days', true, '{}'"
        " FROM generate_series(1, 45000)"
    )
    platform.turn()
    assert not platform.query("SELECT file FROM airfleet.user_span UNION ALL SELECT file FROM airfleet.lineage_event")


def test_an_event_is_kept_while_something_still_needs_it(platform: LineagePlatform) -> None:
    """What was read and delivered goes after a week. What waits stays, whatever its age, until it is given up."""
    add = (
        "INSERT INTO airfleet.lineage_event (file, place, instance, arrived_at, is_read, body)"
        " VALUES (gen_random_uuid(), 1, gen_random_uuid(), now() - make_interval(days => %s), %s, %s) RETURNING number"
    )
    for days, is_read, name in ((8, True, "done"), (6, True, "young"), (8, True, "waits"), (8, False, "unread")):
        [event] = platform.query(add, days, is_read, json.dumps({"name": name}))
        if name == "waits":
            platform.query("INSERT INTO airfleet.lineage_delivery VALUES ('marquez', %s, 0, now())", event["number"])
    platform.query(
        "INSERT INTO airfleet.dataset_use VALUES ('d', 't', 'n', 'x', true, now() - interval '60 days', 'r')"
    )
    with connect({"conninfo": platform.dsn}, "prune") as connection:
        store.prune(connection, ["marquez"], platform.policy.keep_days)
        assert not store.prune_some(connection, platform.policy.keep_days, platform.policy.event_days)
    kept = platform.query("SELECT body::jsonb ->> 'name' AS name FROM airfleet.lineage_event")
    assert sorted(one["name"] for one in kept) == ["unread", "waits", "young"]
    assert platform.query("SELECT name FROM airfleet.dataset_use"), "what events said is kept for `keep_days`"
