"""Airflow's own tables, and airfleet's, in a real PostgreSQL, and the loop that gives workers their slots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import servers
from airflow_tables import serve
from slot_platform import RULE, SlotPlatform


@pytest.fixture(scope="package")
def server() -> Iterator[servers.Server]:
    with serve() as one:
        yield one


@pytest.fixture
def platform(server: servers.Server) -> Iterator[SlotPlatform]:
    platform = SlotPlatform(server)
    assert platform.turn() == {"a": None, "b": None}, "workers that have not reported have all their slots"
    for host in RULE.hosts:
        assert platform.report(host) == 8
    yield platform
    platform.engine.dispose()
    with platform.context.share() as connection:
        platform.lease.release(connection)
    platform.context.disconnect()
