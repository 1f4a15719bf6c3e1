"""The loop of breakers in a real database: it probes, lets waves through, closes and forgets."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import dict_row

from airfleet_provider.agent_loops.lease import LeaseLostError
from airfleet_provider.breakers.loop import BreakerLoop, make_loop
from airfleet_provider.breakers.messages import Starts
from airfleet_provider.breakers.stand_in import _Context
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit
from breaker_platform import AWAY, RULE, RULES, BreakerPlatform


def test_the_loop_probes_with_one_and_then_lets_waves_through(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    seen = []
    for _ in range(20):
        state, wave = platform.turn()
        probes = platform.list_probes()
        seen.append((state, wave, len(probes)))
        if state == "closed":
            break
        if probes:
            [held] = platform.gate.find_held()
            assert set(probes) <= held.exempt
            assert platform.reports.answer(probes[0], Starts(("crm",), ())).wait_s is None, "a probe may call"
        platform.end(probes)
    assert [wave for state, wave, count in seen if count] == [1, 2, 4, 8]
    assert all(count <= wave for _, wave, count in seen)
    assert seen[-1][0] == "closed"
    assert platform.gate.find_held() == ()
    assert platform.server.query("SELECT waiting FROM airfleet.breaker WHERE name = 'crm'") == [(0,)]


def test_a_probe_that_fails_opens_it_again_and_another_task_probes_next(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    platform.turn()
    [first] = platform.list_probes()
    assert platform.reports.answer(first, AWAY).wait_s is not None
    assert platform.turn()[0] == "open"
    platform.server.query("UPDATE airfleet.breaker SET probe_at = now()")
    platform.turn()
    platform.turn()
    [second] = platform.list_probes()
    assert second != first


def test_a_probe_that_cannot_start_is_replaced(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    platform.turn()
    [first] = platform.list_probes()
    platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '1 minute'")
    platform.turn()
    [second] = platform.list_probes()
    assert second != first


def test_no_wave_grows_while_no_probe_can_start(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    for _ in range(12):
        assert platform.turn() == ("half-open", 1)
        [probe] = platform.list_probes()
        [held] = platform.gate.find_held()
        assert held.exempt == {probe}, "those before it are held again, so no more than one calls the service"
        platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '1 minute'")


def test_it_closes_after_some_minutes_in_which_no_task_waits(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.end(platform.tasks, "up_for_retry")
    assert platform.turn() == ("half-open", 1)
    assert platform.turn() == ("half-open", 1)
    platform.server.query("UPDATE airfleet.breaker SET changed_at = now() - interval '6 minutes'")
    platform.end(platform.tasks[:1], "scheduled")
    assert platform.turn() == ("half-open", 1), "a task waits"
    platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '6 minutes'")
    platform.end(platform.tasks[:1], "removed")
    assert platform.turn()[0] == "closed"


def test_a_probe_that_runs_for_long_has_got_through_but_its_time_in_the_queue_does_not_count(
    platform: BreakerPlatform,
) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    platform.turn()
    probes = platform.list_probes()
    platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '6 minutes'")
    platform.server.query("UPDATE task_instance SET start_date = now() - interval '1 minute'")
    platform.end(probes, "running")
    assert platform.turn() == ("half-open", 1)
    platform.server.query("UPDATE task_instance SET start_date = now() - interval '6 minutes'")
    assert platform.turn() == ("half-open", 2)


def test_a_task_of_two_half_open_breakers_is_a_probe_of_both(platform: BreakerPlatform) -> None:
    both = (RULE, BreakerRule("all", dag="sales|other"))
    platform.loop = BreakerLoop(both)
    platform.end(platform.others[2:])
    for rule in both:
        platform.server.query("INSERT INTO airfleet.breaker (name, state, wave) VALUES (%s, 'half-open', 1)", rule.name)
    for _ in range(60):
        platform.turn()
        rows = platform.server.query(
            "SELECT p.instance::text, array_agg(b.name ORDER BY b.name) FROM airfleet.breaker_probe p"
            " JOIN airfleet.breaker b ON b.name = p.breaker AND b.generation = p.generation AND b.state = 'half-open'"
            " WHERE p.outcome = 'chosen' GROUP BY 1"
        )
        open_ones = {
            name for (name,) in platform.server.query("SELECT name FROM airfleet.breaker WHERE state <> 'closed'")
        }
        for instance, names in rows:
            keepers = {"all", "crm"} if instance in platform.tasks else {"all"}
            assert set(names) == keepers & open_ones, "nothing else keeps a probe from starting"
        if not open_ones:
            break
        platform.end([instance for instance, _ in rows])
    assert not open_ones


def test_the_only_task_that_waits_is_chosen_again_until_it_can_start(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.end(platform.tasks[1:])
    platform.turn()
    for _ in range(3):
        platform.turn()
        assert platform.list_probes() == [platform.tasks[0]]
        platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '1 minute'")
    platform.turn()
    platform.end(platform.tasks[:1])
    assert platform.turn() == ("half-open", 2)
    assert platform.turn()[0] == "closed"


def test_a_breaker_that_fleet_yaml_no_longer_names_keeps_nothing(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.loop = BreakerLoop(())
    assert platform.turn()[0] == "closed"


def test_a_breaker_that_a_person_opened_never_probes_by_itself(platform: BreakerPlatform) -> None:
    from airfleet.operations.breakers import Breakers  # noqa: PLC0415
    from airfleet_provider.contract.breaker_rules import BreakerState  # noqa: PLC0415
    from places import parse  # noqa: PLC0415

    fleet = parse("breakers: {crm: {dag: sales}}")
    with psycopg.connect(platform.server.dsn, autocommit=True, row_factory=dict_row) as connection:
        breakers = Breakers(connection, fleet)
        assert [one.state for one in breakers.list_breakers()] == ["closed"]
        breakers.move("crm", BreakerState.OPEN, reason="maintenance", actor="eve@desk")
        for _ in range(3):
            assert platform.turn()[0] == "open"
        [found] = breakers.list_breakers()
        assert (found.waiting, found.probe_at, found.actor) == (20, None, "eve@desk")
        breakers.move("crm", BreakerState.CLOSED, reason="done", actor="eve@desk")
        assert platform.gate.find_held() == ()
        assert [one.state for one in breakers.list_events("crm", limit=9)] == ["closed", "open"]
    audit = platform.server.query("SELECT event, owner FROM log ORDER BY id DESC LIMIT 2")
    assert audit == [("airfleet_breaker_closed", "eve@desk"), ("airfleet_breaker_open", "eve@desk")]


def test_tasks_that_no_longer_exist_and_breakers_that_were_removed_are_forgotten(platform: BreakerPlatform) -> None:
    rows = [("dwh", "sales", "load"), ("dwh", "sales", "load_of_before"), ("removed", "sales", "load")]
    for row in rows:
        platform.server.query("INSERT INTO airfleet.breaker_task (breaker, dag_id, task_id) VALUES (%s, %s, %s)", *row)
    platform.turn()
    assert platform.server.query("SELECT breaker, dag_id, task_id FROM airfleet.breaker_task") == [rows[0]]


def test_the_rows_of_the_last_limit_go_when_fleet_yaml_has_no_limit_any_more(platform: BreakerPlatform) -> None:
    def count() -> list[int]:
        tables = ("service_limit", "service_grant")
        return [platform.server.query(f"SELECT count(*) FROM airfleet.{one}")[0][0] for one in tables]  # noqa: S608

    platform.server.query("TRUNCATE airfleet.service_limit, airfleet.service_grant")
    platform.server.query("INSERT INTO airfleet.service_limit (name) VALUES ('crm')")
    platform.server.query(
        "INSERT INTO airfleet.service_grant (limit_name, dag_id, instance, outcome, granted_at)"
        " VALUES ('crm', 'sales', gen_random_uuid(), 'used', now() - interval '3 hours')"
    )
    limit = ServiceLimit(RULES["crm"], starts_per_minute=60)
    make_loop({AgentsKey.LIMITS: {"limits": [limit.to_json()]}}).once(platform.context)
    assert count() == [1, 1], "the scheduler uses them"
    make_loop({}).once(platform.context)
    assert count() == [0, 0]


def test_without_agents_the_scheduler_itself_probes_and_closes_it(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    assert platform.gate.find_held()
    assert platform.read()[0] == "open"
    platform.gate.find_held()
    assert platform.read()[0] == "open", "the agents are there"
    platform.server.query(
        "UPDATE airfleet.lease SET renewed_at = renewed_at - interval '2 minutes' WHERE name = 'agents'"
    )
    seen = []
    for _ in range(40):
        platform.gate.find_held()
        platform.end(platform.list_probes())
        seen.append(platform.read())
    assert dict.fromkeys(seen) == dict.fromkeys([*[("half-open", wave) for wave in (1, 2, 4, 8)], ("closed", 0)])
    assert platform.gate.find_held() == ()


def test_agents_that_come_back_wait_for_the_scheduler_and_it_stops(platform: BreakerPlatform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.server.query(
        "UPDATE airfleet.lease SET renewed_at = renewed_at - interval '2 minutes' WHERE name = 'agents'"
    )
    connection = platform.connect()
    with _Context(connection).write(), pytest.raises(psycopg.errors.LockNotAvailable):
        platform.server.query(
            "SET lock_timeout = 50; UPDATE airfleet.lease SET renewed_at = now() WHERE name = 'agents'"
        )
    platform.server.query("UPDATE airfleet.lease SET renewed_at = clock_timestamp() WHERE name = 'agents'")
    with pytest.raises(LeaseLostError), _Context(connection).write():
        raise AssertionError("the agents are back")
