"""Tasks that the loop packs on few hosts: which hosts have slots, and which are empty."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from psycopg.rows import dict_row

from airfleet.operations.slots import HostNeed, Slots
from airfleet.spec import load
from airfleet_provider.slots.loop import SlotLoop
from airfleet_provider.slots.reports import note
from slot_platform import FLEET, RULE, SlotPlatform


def test_packed_tasks_have_their_slots_on_the_first_hosts_and_a_host_that_is_away_becomes_the_last(
    platform: SlotPlatform,
) -> None:
    platform.pack()
    platform.add(6, "running")
    platform.turn()
    assert platform.turn(61) == {"a": 6, "b": 0}
    assert platform.read_ranks() == {"a": 0, "b": 1}
    platform.report("a", takes=False)
    assert platform.turn() == {"a": 0, "b": 6}
    assert platform.report("a") == 0
    assert platform.turn() == {"a": 0, "b": 6}
    assert platform.read_ranks() == {"a": 2, "b": 1}
    answer = note(
        {"pool": "cpu", "host": "a", "held": 0, "in_force": 0, "takes": True, "marked": False}, platform._session
    )
    assert answer
    assert (answer["slots"], answer["rank"]) == (0, 2)
    platform.age("decided_at", 130)
    assert [platform.report(host) for host in RULE.hosts] == [8, 8], "without an agent, all slots"
    platform.loop = platform.make_loop()
    platform.turn()
    assert platform.read_ranks() == {"a": None, "b": None}, "tasks are packed no more"


def test_a_person_sees_how_many_hosts_are_needed_and_which_are_empty(platform: SlotPlatform) -> None:
    platform.pack()
    platform.add(12, "running")
    platform.turn()
    platform.server.query("UPDATE airfleet.slot_decision SET decided_at = decided_at - interval '3 days'")
    platform.server.query("UPDATE task_instance SET state = 'success'")
    assert platform.turn(61) == {"a": 1, "b": 0}
    with platform.person() as slots:
        assert slots.find_need("cpu", days=7) == HostNeed("cpu", 2, 1, 2, ("b",))
        assert slots.find_need("cpu", days=2).most_needed == 2, "what held when the two days began counts"
    platform.server.query("UPDATE airfleet.worker_slots SET held = 1 WHERE host = 'b'")
    platform.age("decided_at", 1)
    with platform.person() as slots:
        assert slots.find_need("cpu", days=7).empty == (), "it has a task that runs longer"


@pytest.mark.parametrize("scale", ["", ", scale: {}"])
def test_a_host_of_two_pools_is_empty_if_it_is_so_in_both(platform: SlotPlatform, scale: str) -> None:
    fleet = load.parse(
        FLEET.replace("{pack: false}}}", f"{{}}}}, memory: {{queues: [memory]{scale}}}}}"),
        file="fleet.yaml",
        default_name="f",
        cpus=2,
    )
    platform.server.query("UPDATE airfleet.worker_slots SET slots = 0, held = 0, seen_at = now()")
    if scale:
        add = "INSERT INTO airfleet.worker_slots (pool, host, slots, otherwise, held, takes, seen_at, decided_at)"
        platform.server.query(
            f"{add} SELECT 'memory', host, (host = 'b')::int, 1, 0, true, now(), now() FROM airfleet.worker_slots"  # noqa: S608
        )
    with psycopg.connect(platform.server.dsn, autocommit=True, row_factory=dict_row) as connection:
        empty = Slots(connection, fleet).find_need("cpu", days=7).empty
    assert empty == (("a",) if scale else ()), "workers of pools that do not scale always have slots"


def test_tasks_that_wait_though_slots_are_free_are_offered_to_all_workers(platform: SlotPlatform) -> None:
    platform.pack()
    platform.turn()
    assert platform.turn(61) == {"a": 1, "b": 0}
    platform.add(5, "queued")
    platform.server.query("UPDATE task_instance SET queued_dttm = now() - interval '5 s'")
    assert platform.turn() == {"a": 5, "b": 0}
    platform.server.query("UPDATE task_instance SET queued_dttm = now() - interval '10 min'")
    assert platform.turn() == {"a": 5, "b": 0}
    platform.add(1, "running")
    for _ in range(3):
        platform.server.query("UPDATE task_instance SET start_date = clock_timestamp() WHERE state = 'running'")
        assert platform.turn(20) == {"a": 6, "b": 0}, "tasks begin"
    assert platform.turn(31) == {"a": 5, "b": 1}


def test_a_queue_that_the_packed_worker_does_not_serve_is_offered_to_all_though_tasks_of_another_begin(
    platform: SlotPlatform,
) -> None:
    platform.loop = SlotLoop((replace(RULE, queues=("new", "cpu"), pack=True),), clock=lambda: platform.now)
    platform.add(1, "queued")
    platform.server.query("UPDATE task_instance SET queue = 'new', queued_dttm = now() - interval '10 min'")
    platform.add(1, "running")
    for _ in range(4):
        platform.server.query("UPDATE task_instance SET start_date = clock_timestamp() WHERE queue = 'cpu'")
        found = platform.turn(20)
    assert found == {"a": 1, "b": 1}
