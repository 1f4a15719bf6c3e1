"""Each loop of the agents has a session at the database while it needs one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import servers
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import SELDOM_S, Context, Loop, LoopThread, connect
from deadline import PATIENCE_S, wait_until

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"


def look(context: Context) -> None:
    with context.read() as connection:
        connection.execute("SELECT 1")


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.serve_own() as one:
        yield one


@contextmanager
def running(server: servers.Server, name: str, every_s: float) -> Iterator[LoopThread]:
    lease, stopping = AgentsLease("host:1"), threading.Event()
    context = Context(name, {}, lease, stopping, lambda own: connect({"conninfo": server.dsn}, own))
    one = LoopThread(Loop(name, every_s, look, only_active=False), context, lease)
    one.thread.start()
    try:
        yield one
    finally:
        stopping.set()
        one.thread.join(PATIENCE_S)


def test_a_loop_that_works_seldom_has_no_session_between_its_turns(server: servers.Server) -> None:
    def count(name: str) -> int:
        return int(server.query(OPEN, f"airfleet agents {name}")[0][0])

    with running(server, "often", 0.01) as often, running(server, "seldom", 2 * SELDOM_S) as seldom:
        wait_until(lambda: often.state.runs > 2 and seldom.state.runs > 0, "turns")
        wait_until(lambda: count("seldom") == 0, "the end of the session")
        assert count("often") == 1
        assert not seldom.state.failures
