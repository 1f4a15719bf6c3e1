"""Slots in a real database: what the loop counts and writes, and what workers report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import servers
from airfleet_provider.agent_loops.lease import LeaseLostError
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.slot_rules import FixedPool
from airfleet_provider.slots.loop import SlotLoop, make_loop
from slot_platform import RULE, SlotPlatform


def test_slots_follow_the_tasks_up_at_once_and_down_after_a_while(platform: SlotPlatform) -> None:
    assert platform.turn() == {"a": 1, "b": 1}
    platform.add(2, "running")
    platform.add(1, "queued")
    platform.add(500)
    platform.add(100, pool="crm")
    assert platform.turn() == {"a": 8, "b": 8}
    assert [platform.report(host, held=8) for host in RULE.hosts] == [8, 8]
    platform.server.query("UPDATE task_instance SET state = 'success' WHERE state <> 'running'")
    assert platform.turn(59) == {"a": 8, "b": 8}
    assert platform.turn(2) == {"a": 1, "b": 1}


def test_tasks_that_a_slot_pool_or_a_breaker_keeps_get_no_slots(platform: SlotPlatform) -> None:
    platform.add(100, pool="crm")
    assert platform.turn() == {"a": 2, "b": 1}
    platform.server.query(
        "INSERT INTO airfleet.breaker (name, state, waiting_tasks) VALUES ('crm', 'open', %s)",
        json.dumps([["sales", "load"]]),
    )
    assert platform.turn(61) == {"a": 1, "b": 1}


def test_a_new_loop_takes_nothing_away_that_the_old_one_gave(platform: SlotPlatform) -> None:
    platform.add(500)
    platform.turn()
    platform.server.query("UPDATE task_instance SET state = 'success'")
    platform.loop = platform.make_loop()
    assert platform.turn() == {"a": 8, "b": 8}
    assert platform.turn(59) == {"a": 8, "b": 8}
    assert platform.turn(2) == {"a": 1, "b": 1}


def test_a_worker_that_is_silent_or_drained_does_not_count_and_begins_with_one_slot_when_it_is_back(
    platform: SlotPlatform,
) -> None:
    platform.add(6, "running")
    platform.report("a", takes=False)
    assert platform.turn() == {"a": 1, "b": 6}
    assert platform.report("a") == 1
    assert platform.turn() == {"a": 1, "b": 5}


def test_workers_that_are_all_silent_keep_their_slots(platform: SlotPlatform) -> None:
    platform.add(6, "running")
    assert platform.turn() == {"a": 5, "b": 1}
    platform.age("seen_at", 60)
    assert platform.turn() == {"a": 5, "b": 1}
    assert platform.report("b") == 1


def test_without_an_agent_workers_keep_their_slots_for_two_minutes_and_then_have_all(platform: SlotPlatform) -> None:
    assert platform.turn() == {"a": 1, "b": 1}
    platform.age("decided_at", 100)
    assert platform.report("a") == 1
    platform.age("decided_at", 130)
    assert platform.report("a") == 8
    platform.turn()
    assert platform.report("a") == 1


def test_a_host_that_joins_gets_slots_from_the_loop_that_runs(platform: SlotPlatform, tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"

    def put(*hosts: str) -> None:
        path.with_suffix(".new").write_text(json.dumps({"slots": {"rules": [replace(RULE, hosts=hosts).to_json()]}}))
        path.with_suffix(".new").replace(path)

    put("a", "b")
    loop = make_loop({AgentsKey.HOSTS: str(path)})
    platform.add(500)
    loop.once(platform.context)
    assert set(dict(platform.server.query("SELECT host, slots FROM airfleet.worker_slots"))) == {"a", "b"}
    put("a", "b", "c")
    platform.renew()
    loop.once(platform.context)
    assert [platform.report(host) for host in ("a", "b", "c")] == [8, 8, 1]
    platform.renew()
    loop.once(platform.context)
    assert dict(platform.server.query("SELECT host, slots FROM airfleet.worker_slots")) == {"a": 8, "b": 8, "c": 8}


def test_without_a_rule_the_rows_are_read_once_a_minute_and_when_a_host_joins(platform: SlotPlatform) -> None:
    platform.loop = SlotLoop((), clock=lambda: platform.now, fixed=(FixedPool("cpu", ("a",), 8),))
    assert platform.turn() == {"a": None}
    platform.server.query("DELETE FROM airfleet.worker_slots")
    assert platform.turn() == {}
    platform.loop.follow((), (FixedPool("cpu", ("a", "c"), 8),))
    assert platform.turn() == {"a": None, "c": None}
    platform.server.query("DELETE FROM airfleet.worker_slots WHERE host = 'c'")
    assert platform.turn() == {"a": None}
    assert platform.turn(60) == {"a": None, "c": None}


def test_rows_of_workers_that_no_rule_names_go_and_their_reports_find_none(platform: SlotPlatform) -> None:
    platform.loop = SlotLoop(())
    assert platform.turn() == {}
    assert platform.report("a") is None


def test_a_process_that_lost_the_lease_changes_nothing(platform: SlotPlatform, server: servers.Server) -> None:
    platform.add(500)
    server.query("UPDATE airfleet.lease SET epoch = epoch + 1, holder = 'other:2' WHERE name = 'agents'")
    with pytest.raises(LeaseLostError):
        platform.loop.once(platform.context)
    assert dict(server.query("SELECT host, slots FROM airfleet.worker_slots")) == {"a": None, "b": None}
    server.query("UPDATE airfleet.lease SET holder = '' WHERE name = 'agents'")
