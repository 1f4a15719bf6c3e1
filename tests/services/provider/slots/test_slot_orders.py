"""What a person sets and reads, by a command and on a page: slots, drains and the need for hosts."""

from __future__ import annotations

import json
from dataclasses import replace

import psycopg
import pytest
from psycopg.rows import dict_row

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.machines.scaling_fleet import read_loads, read_need
from airfleet.operations.machines.scaling_rules import PoolNeed
from airfleet.operations.workers import page_drains
from airfleet.operations.workers.status import Worker
from airfleet.spec import load
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import slot_list
from airfleet_provider.contract.slot_rules import FixedPool, decide
from airfleet_provider.slots.loop import PRUNE_EVERY_S, SlotLoop
from running_dags import RUNS
from slot_platform import FLEET, RULE, SlotPlatform


def test_what_a_person_set_holds_without_an_agent_too_and_is_in_the_audit_log(platform: SlotPlatform) -> None:
    platform.add(500)
    platform.turn()
    with platform.person() as slots:
        slots.scale("cpu", 3, actor="ada", reason="the host is short of memory")
    assert platform.turn() == {"a": 2, "b": 1}
    platform.age("decided_at", 130)
    assert platform.report("a") == 2
    with platform.person() as slots:
        [pool] = slots.list_pools()
        assert pool.override
        assert (pool.override["slots"], pool.override["actor"]) == (3, "ada")
        slots.scale("cpu", None, actor="ada", reason="it has more now")
    assert platform.turn() == {"a": 8, "b": 8}
    rows = platform.server.query("SELECT owner, extra FROM log WHERE event = 'airfleet_scale_pool' ORDER BY id")
    assert [(owner, json.loads(extra)["slots"]) for owner, extra in rows[-2:]] == [("ada", 3), ("ada", "auto")]


def test_a_person_hears_what_cannot_be(platform: SlotPlatform) -> None:
    with platform.person() as slots:
        with pytest.raises(UsageError, match="from 2 to 16 slots, not 1"):
            slots.scale("cpu", 1, actor="ada", reason="")
        with pytest.raises(UsageError, match="no pool 'io' scales here"):
            slots.scale("io", 1, actor="ada", reason="")


def test_a_page_shows_a_pool_as_it_is_and_sets_its_slots(platform: SlotPlatform) -> None:
    def list_them() -> tuple[slot_list.ScalingPool, ...]:
        with platform._session() as session:
            return slot_list.list_pools(metadata_db.query_in(session))

    platform.turn()
    (pool,) = list_them()
    assert (pool.name, pool.fewest, pool.highest, pool.override) == ("cpu", 2, 16, None)
    assert [(one.host, one.state, one.held) for one in pool.workers] == [("a", "serving", 0), ("b", "serving", 0)]
    with platform._session() as session:
        slot_list.scale(metadata_db.query_in(session), "cpu", 3, actor="ada", reason="a test")
    platform.turn()
    platform.server.query("UPDATE airfleet.slot_decision SET decided_at = now() - interval '90 days'")
    platform.now += PRUNE_EVERY_S
    platform.turn()
    (pool,) = list_them()
    assert pool.override
    assert (pool.override.slots, pool.override.actor, pool.highest) == (3, "ada", 16), "limits outlast the history"
    with platform._session() as session:
        slot_list.scale(metadata_db.query_in(session), "cpu", None, actor="ada", reason="a test")
    assert list_them()[0].override is None


def test_hosts_that_the_pool_does_not_have_are_seen_to_be_needed_while_no_slot_changes(platform: SlotPlatform) -> None:
    platform.turn()
    with platform.person() as slots:
        assert slots.find_demand("cpu", calm_s=900) == (1, 1)
        platform.add(16)
        assert platform.turn() == {"a": 8, "b": 8}
        assert slots.find_demand("cpu", calm_s=900) == (2, 2)
        platform.add(24)
        assert platform.turn() == {"a": 8, "b": 8}
        assert slots.find_demand("cpu", calm_s=900) == (5, 5)
        platform.server.query("UPDATE task_instance SET state = 'success'")
        platform.turn(61)
        assert slots.find_demand("cpu", calm_s=900) == (1, 5)
        platform.server.query("UPDATE airfleet.slot_decision SET decided_at = now() - interval '16 minutes'")
        assert slots.find_demand("cpu", calm_s=900) == (1, 1)
        platform.age("decided_at", 130)
        with pytest.raises(AirfleetError, match="nobody has decided about the pool cpu"):
            slots.find_demand("cpu", calm_s=900)


def test_hosts_are_needed_before_the_crons_come_by_what_the_last_runs_needed_at_once(platform: SlotPlatform) -> None:
    platform.loop = SlotLoop((replace(RULE, ahead_s=90.0),), clock=lambda: platform.now)
    platform.server.query("UPDATE dag SET next_dagrun_create_after = now() + interval '1 hour'")
    platform.add(20, "success")
    # Ten at once, and ten after them, in the last run that a cron began; a run by hand says nothing of it.
    platform.server.query("UPDATE dag_run SET run_type = 'scheduled', state = 'success', start_date = now()")
    times = "start_date = now() + interval '40 s', end_date = now() + interval '50 s'"
    for few, ready in (("> 10", "now()"), ("<= 10", "now() + interval '10 s'")):
        platform.server.query(f"UPDATE task_instance SET scheduled_dttm = {ready}, {times} WHERE map_index {few}")  # noqa: S608
    platform.server.query(RUNS.replace("'r'", "'by-hand'").replace("now(), now()", "now(), NULL", 1), ["sales"])
    platform.turn()
    with platform.person() as slots:
        assert slots.find_demand("cpu", calm_s=900) == (1, 1), "it comes in an hour"
        platform.server.query("UPDATE dag SET next_dagrun_create_after = now() + interval '1 minute'")
        platform.turn(1)
        assert slots.find_demand("cpu", calm_s=900) == (1, 1), "it is counted every ten seconds"
        slots_before = platform.turn(60)
        [last, *_] = slots.list_decisions("cpu", limit=1)
        assert (last.inputs.demand.due, last.inputs.demand.lasting) == (10, 0)
        platform.server.query("UPDATE dag SET max_active_tasks = 6")
        platform.turn(10)
        assert slots.find_demand("cpu", calm_s=900)[0] == 1, "no run of the Dag has more than six tasks at once"
        platform.server.query("UPDATE dag SET max_active_tasks = 100")
        platform.add(20, "running")
        platform.server.query(
            "UPDATE task_instance SET start_date = now() - interval '2 minutes' WHERE state = 'running'"
        )
        platform.turn(10)
        [last, *_] = slots.list_decisions("cpu", limit=1)
        assert (last.inputs.demand.tasks, last.inputs.demand.lasting) == (20, 20)
        assert slots.find_demand("cpu", calm_s=900)[0] == 4, "those that go on, and those that come"
        platform.server.query("UPDATE dag SET is_paused = true")
        platform.server.query("UPDATE task_instance SET state = 'success'")
        platform.turn(61)
        [last, *_] = slots.list_decisions("cpu", limit=1)
        assert (last.inputs.demand.due, last.inputs.demand.lasting) == (0, 0)
    assert slots_before == {"a": 1, "b": 1}, "a slot is needed when the task is there"


def test_slots_are_given_also_while_what_is_to_come_cannot_be_counted(
    platform: SlotPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.loop = SlotLoop((replace(RULE, ahead_s=90.0),), clock=lambda: platform.now)
    platform.add(16)
    platform.server.query("ALTER TABLE dag RENAME COLUMN next_dagrun_create_after TO elsewhere")
    try:
        assert platform.turn() == {"a": 8, "b": 8}
        assert "the pool cpu: what is to come cannot be counted" in caplog.text
        caplog.clear()
        platform.turn(59)
        assert caplog.text.count("cannot be counted") == 0, "a count that fails may have taken seconds"
    finally:
        platform.server.query("ALTER TABLE dag RENAME COLUMN elsewhere TO next_dagrun_create_after")
    platform.server.query("UPDATE dag SET next_dagrun_create_after = now() + interval '1 minute'")
    platform.turn(1)
    assert "cannot be counted" not in caplog.text


def test_a_new_agents_process_records_what_is_needed_then(platform: SlotPlatform) -> None:
    platform.add(16)
    platform.turn()
    platform.loop = platform.make_loop()
    platform.add(24)
    platform.turn()
    with platform.person() as slots:
        assert slots.find_demand("cpu", calm_s=900) == (5, 5)


def test_what_hosts_hold_is_known_of_those_whose_workers_report(platform: SlotPlatform) -> None:
    platform.report("a", held=3)
    platform.age("seen_at", 60)
    platform.report("b", held=2)
    fleet = load.parse(FLEET, file="fleet.yaml", default_name="f", cpus=2)
    with platform.person() as slots:
        assert {host: one.held for host, one in read_loads(slots, fleet).items()} == {"b": 2}
        platform.turn()
        assert read_need(slots, "cpu", 900, ["b"]) == PoolNeed("cpu", 1, 1, own=1)


def test_each_change_is_recorded_with_what_it_depended_on_and_nothing_else_is(platform: SlotPlatform) -> None:
    platform.add(5, "running")
    for _ in range(5):
        platform.turn()
    with platform.person() as slots:
        last, first = slots.list_decisions("cpu", limit=10)
        assert (last.decision.slots, last.decision.reason) == ({"a": 4, "b": 1}, "5 tasks need a slot")
        assert last.inputs.demand.running == 5
        assert decide(last.inputs) == last.decision
        assert first.decision.slots == {}
        assert slots.list_past("cpu", days=1) == ()


def test_a_worker_learns_that_a_page_has_drained_it_and_its_slots_go_to_the_others(platform: SlotPlatform) -> None:
    before = platform.list_workers()["cpu@a"]
    assert (before.state, before.drain) == ("serving", None)
    platform.turn_worker("a", drained=True)
    platform.turn_worker("a", drained=True)  # a second click
    assert platform.is_drained("a", held=2, takes=False)
    assert not platform.is_drained("b")
    draining = platform.list_workers()["cpu@a"]
    assert draining.drain is not None
    assert (draining.state, draining.drain.actor, draining.drain.reason) == ("draining", "ada", "new disk")
    platform.add(8)
    assert platform.turn() == {"a": 1, "b": 8}
    assert platform.is_drained("a", takes=False)
    assert platform.list_workers()["cpu@a"].state == "drained"
    platform.turn_worker("a", drained=False)
    assert not platform.is_drained("a")
    assert platform.list_workers()["cpu@a"].state == "serving"
    rows = platform.server.query("SELECT event, owner, extra FROM log WHERE event ~ '_worker$' ORDER BY id")
    assert [(event, owner, json.loads(extra)) for event, owner, extra in rows][-3:] == [
        (event, "ada", {"workers": ["cpu@a"], "reason": "new disk", "status": 200})
        for event in ("airfleet_drain_worker", "airfleet_drain_worker", "airfleet_resume_worker")
    ]


def test_a_command_resumes_what_a_page_has_drained(platform: SlotPlatform) -> None:
    platform.turn_worker("a", drained=True)
    with psycopg.connect(platform.server.dsn, autocommit=True, row_factory=dict_row) as connection:
        page_drains.resume(connection, [Worker("a", "cpu", "drained"), Worker("b", "cpu", "serving")], actor="bob")
    assert platform.list_workers()["cpu@a"].drain is None


def test_a_worker_that_a_command_has_drained_reports_it(platform: SlotPlatform) -> None:
    platform.ask("a", takes=False, marked=True)
    worker = platform.list_workers()["cpu@a"]
    assert (worker.state, worker.marked, worker.drain) == ("drained", True, None)


def test_workers_of_pools_that_do_not_scale_are_drained_too(platform: SlotPlatform) -> None:
    fixed = FixedPool("io", ("a", "c"), 16)
    assert FixedPool.from_json(json.loads(json.dumps(fixed.to_json()))) == fixed
    platform.loop = SlotLoop((RULE,), clock=lambda: platform.now, fixed=(fixed,))
    platform.turn()
    answer = platform.ask("c", pool="io")
    assert answer is not None
    assert (answer["slots"], answer["rank"], answer["drained"]) == (16, None, False)
    platform.turn_worker("c", drained=True, pool="io")
    platform.turn()
    assert platform.is_drained("c", pool="io", takes=False)
    assert platform.list_workers()["io@c"].state == "drained"
    # A host that leaves fleet.yaml, and comes back some day, is not drained.
    platform.loop = SlotLoop((RULE,), clock=lambda: platform.now)
    platform.turn()
    platform.loop = SlotLoop((RULE,), clock=lambda: platform.now, fixed=(fixed,))
    platform.turn()
    assert not platform.is_drained("c", pool="io")
