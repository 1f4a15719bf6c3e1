"""The lease of agents on a real PostgreSQL: one process at a time, whatever dies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import Connection

import servers
from airfleet_provider.agent_loops.lease import MARGIN_S, TTL_S, AgentsLease, LeaseLostError, Row
from airfleet_provider.agent_loops.loop import connect
from clocks import MadeUpClock


@dataclass
class Candidate:
    lease: AgentsLease
    connection: Connection[Row]

    def turn(self) -> int | None:
        with self.connection.transaction():
            term = self.lease.ask(self.connection)
        self.lease.note(term)
        return self.lease.epoch


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.serve_own() as one:
        yield one


@pytest.fixture
def clock() -> MadeUpClock:
    return MadeUpClock(now=1000)


@pytest.fixture
def pair(server: servers.Server, clock: MadeUpClock) -> Iterator[tuple[Candidate, Candidate]]:
    server.query("UPDATE airfleet.lease SET holder = '', renewed_at = now() WHERE name = 'agents'")
    with connect({"conninfo": server.dsn}, "one") as first, connect({"conninfo": server.dsn}, "two") as second:
        one = Candidate(AgentsLease("one:1", clock=clock), first)
        yield one, Candidate(AgentsLease("two:2", clock=clock), second)


def test_a_free_lease_is_taken_at_once_and_by_one(pair: tuple[Candidate, Candidate]) -> None:
    one, two = pair
    assert one.turn() is not None
    assert two.turn() is None
    assert one.turn() is not None


def test_a_holder_that_stops_gives_the_lease_to_the_other_at_once(pair: tuple[Candidate, Candidate]) -> None:
    one, two = pair
    before = one.turn()
    one.lease.release(one.connection)
    assert one.lease.epoch is None
    after = two.turn()
    assert before is not None
    assert after == before + 1


def test_a_holder_that_dies_is_followed_after_the_time_of_a_lease_and_not_before(
    pair: tuple[Candidate, Candidate], clock: MadeUpClock
) -> None:
    one, two = pair
    one.turn()
    two.turn()
    clock.now += TTL_S - 0.1
    assert two.turn() is None
    clock.now += 0.2
    assert two.turn() is not None
    assert one.turn() is None, "its renewal finds the name of the other"


def test_a_holder_that_renews_keeps_the_lease_for_ever(pair: tuple[Candidate, Candidate], clock: MadeUpClock) -> None:
    one, two = pair
    for _ in range(10):
        assert one.turn() is not None
        assert two.turn() is None
        clock.now += TTL_S / 4


def test_a_holder_without_a_database_stops_before_another_may_begin(
    pair: tuple[Candidate, Candidate], clock: MadeUpClock
) -> None:
    one, two = pair
    one.turn()
    two.turn()
    clock.now += TTL_S - MARGIN_S
    assert one.lease.epoch is None
    assert two.turn() is None


def test_a_renewal_that_was_not_committed_does_not_count(pair: tuple[Candidate, Candidate], clock: MadeUpClock) -> None:
    one, two = pair
    one.turn()
    two.turn()
    clock.now += TTL_S / 2
    with pytest.raises(ZeroDivisionError), one.connection.transaction():
        one.lease.ask(one.connection)
        raise ZeroDivisionError
    clock.now += TTL_S / 2 + 0.1
    assert one.lease.epoch is None
    assert two.turn() is not None


def test_work_of_a_former_holder_is_not_committed(pair: tuple[Candidate, Candidate], clock: MadeUpClock) -> None:
    one, two = pair
    epoch = one.turn()
    assert epoch is not None
    two.turn()
    clock.now += TTL_S + 0.1
    two.turn()
    with pytest.raises(LeaseLostError), one.connection.transaction():
        one.lease.hold(one.connection, epoch)


def test_open_work_of_the_holder_keeps_the_lease_with_it_and_lets_it_renew(
    pair: tuple[Candidate, Candidate], clock: MadeUpClock, server: servers.Server
) -> None:
    one, two = pair
    epoch = one.turn()
    assert epoch is not None
    two.turn()
    clock.now += TTL_S + 0.1
    two.connection.execute("SET statement_timeout = 300")
    with connect({"conninfo": server.dsn}, "work") as work, work.transaction():
        one.lease.hold(work, epoch)
        with pytest.raises(psycopg.errors.QueryCanceled):
            two.turn()
        assert one.turn() is not None, "the holder renews beside its own work"
    assert two.turn() is None
