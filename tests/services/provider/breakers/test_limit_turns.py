"""Turns between Dags under limits of services, and the rest of the scheduler between two looks, in a real database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg2
import pytest

import servers
from airfleet_provider.breakers import limit_ledger
from airfleet_provider.breakers.limit_gate import HOLD_BLINDLY_S
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit
from limited_service import QUEUE, RATE, LimitedService

FEW = ServiceLimit(BreakerRule("crm", dag="sales|one"), starts_per_minute=6)
OTHER = ServiceLimit(BreakerRule("dwh", dag="sales", task="extract"), starts_per_minute=60)
USED = """
INSERT INTO airfleet.service_grant (limit_name, dag_id, instance, outcome)
SELECT %s, %s, gen_random_uuid(), 'used' FROM generate_series(1, %s)
"""


@dataclass(slots=True)
class SlowClock:
    """A clock by which each reading takes time."""

    value: float = 0.0
    step: float = 0.5

    def __call__(self) -> float:
        self.value += self.step
        return self.value


def test_what_a_dag_starts_at_another_service_costs_it_no_turn(server: servers.Server) -> None:
    service = LimitedService(server, limits=(RATE, OTHER))
    server.query("INSERT INTO airfleet.service_limit (name, active) VALUES ('dwh', 1)")
    server.query(USED, "dwh", "sales", 50)
    server.query(USED, "crm", "one", 20)
    assert service.see() <= set(service.sales)


def test_a_task_that_a_limit_of_its_own_keeps_back_gets_not_every_grant(server: servers.Server) -> None:
    """`max_active_tis_per_dag` keeps all tasks of the large Dag back, and is in no table."""
    service = LimitedService(server, limits=(FEW,))
    started: set[str] = set()
    for _ in range(8):
        service.pass_time(11.0)
        found = service.see() & set(service.one)
        server.query(QUEUE, sorted(found))
        started |= found
    assert started == set(service.one)


def test_a_look_that_takes_long_is_followed_by_a_rest_although_tasks_come_and_go(
    server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    settle = limit_ledger.settle

    def note(execute: limit_ledger.Execute, accounts: Mapping[str, limit_ledger.LimitAccount]) -> None:
        looks.append(1)
        settle(execute, accounts)

    monkeypatch.setattr(limit_ledger, "settle", note)
    service = LimitedService(server)
    service.end(service.one)
    service.gate.clock = SlowClock()
    service.gate.find_held()
    assert len(looks) == 1
    service.end(service.one, "scheduled")
    service.gate.find_held()
    assert len(looks) == 1, "it rests"
    for _ in range(6):
        service.gate.find_held()
    assert len(looks) > 1


def test_a_database_that_fails_is_not_asked_in_each_loop(server: servers.Server) -> None:
    service = LimitedService(server)
    [first] = service.see()
    calls = []

    def refuse() -> object:
        calls.append(1)
        raise psycopg2.OperationalError("gone")

    clock = SlowClock()
    service.gate.connection.drop()
    service.gate.connection.connect, service.gate.clock = refuse, clock
    service.see()
    assert service.see() == {first}
    assert len(calls) == 1
    clock.value += HOLD_BLINDLY_S
    assert len(service.see()) == 503
    assert len(calls) == 2
