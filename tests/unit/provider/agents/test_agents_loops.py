"""Loops fail alone, are counted, and work again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from airfleet_provider.agent_loops.lease import AgentsLease, LeaseTerm
from airfleet_provider.agent_loops.loop import LONGEST_WAIT_S, STUCK_S, Context, Loop, LoopThread, TimedConnection
from clocks import MadeUpClock
from deadline import PATIENCE_S, wait_until


def make(
    once: Callable[[Context], None], clock: MadeUpClock, *, every_s: float = 0.01, only_active: bool = True
) -> LoopThread:
    def refuse(name: str) -> TimedConnection:
        raise psycopg.OperationalError("the server is away")

    lease = AgentsLease("host:1", clock=clock)
    context = Context("work", {}, lease, threading.Event(), refuse)
    return LoopThread(Loop("work", every_s, once, only_active), context, lease, clock)


@contextmanager
def running(one: LoopThread) -> Iterator[LoopThread]:
    one.thread.start()
    try:
        yield one
    finally:
        one.context.stopping.set()
        with one.lease.changed:
            one.lease.changed.notify_all()
        one.thread.join(PATIENCE_S)


def test_only_the_active_process_does_what_is_done_once_in_the_fleet() -> None:
    clock, turns = MadeUpClock(now=50), []
    with running(make(lambda _: turns.append(1), clock)) as one:
        wait_until(lambda: one.state.is_waiting, "the loop waits")
        assert not turns
        one.lease.note(LeaseTerm(1, clock.now + 5))
        wait_until(lambda: bool(turns), "a turn")
        clock.now += 6
        wait_until(lambda: one.state.is_waiting, "the loop waits again")


def test_a_loop_ends_its_work_when_the_process_stops() -> None:
    ended: list[str] = []
    one = make(lambda _: None, MadeUpClock(now=50), only_active=False)
    one.loop = replace(one.loop, finish=lambda context: ended.append(context.name))
    with running(one):
        wait_until(lambda: one.state.runs > 0, "a turn")
        assert not ended
    assert ended == ["work"]


def test_what_every_process_does_needs_no_lease() -> None:
    with running(make(lambda _: None, MadeUpClock(now=50), only_active=False)) as one:
        wait_until(lambda: one.state.runs > 2, "turns")


def test_a_loop_that_fails_is_counted_says_why_and_works_again(caplog: pytest.LogCaptureFixture) -> None:
    broken = True

    def once(context: Context) -> None:
        if broken:
            raise RuntimeError("no\nluck")

    with running(make(once, MadeUpClock(now=50), only_active=False)) as one:
        wait_until(lambda: one.state.failures > 1, "failures")
        assert one.state.error == "RuntimeError: no\\nluck"
        assert not one.find_fault(), "a loop that tries again is no reason to restart the process"
        broken = False
        wait_until(lambda: one.state.runs > 0, "a turn that succeeds")
    assert one.state.error == ""
    assert sum("failed" in line for line in caplog.messages) == 1, "the same error is said once"


def test_without_a_database_a_loop_waits_longer_each_time_but_not_for_ever() -> None:
    def once(context: Context) -> None:
        with context.read():
            raise AssertionError("there is no database")

    one = make(once, MadeUpClock(now=50), every_s=3.0, only_active=False)
    waits = []
    for _ in range(12):
        one._turn(one.clock())
        waits.append(one._wait_s(one.clock()))
    assert one.state.failures == 12
    assert waits == sorted(waits)
    assert (waits[0], waits[1], waits[-1]) == (3.0, 6.0, LONGEST_WAIT_S)


def test_a_loop_that_does_not_come_back_is_a_reason_to_restart_the_process() -> None:
    clock, gate = MadeUpClock(now=50), threading.Event()

    def once(context: Context) -> None:
        gate.wait(PATIENCE_S)

    with running(make(once, clock, only_active=False)) as one:
        wait_until(lambda: one.state.busy_since is not None, "the turn begins")
        assert not one.find_fault()
        clock.now += STUCK_S + 1
        assert "work has not come back" in one.find_fault()
        gate.set()
