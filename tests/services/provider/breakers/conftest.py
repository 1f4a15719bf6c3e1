"""Airflow's own tables, and airfleet's, in a real PostgreSQL, and what works on breakers there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import servers
from airflow_tables import serve
from breaker_platform import BreakerPlatform


@pytest.fixture(scope="package")
def server() -> Iterator[servers.Server]:
    with serve() as one:
        yield one


@pytest.fixture
def platform(server: servers.Server) -> Iterator[BreakerPlatform]:
    platform = BreakerPlatform(server)
    yield platform
    with platform.context.share() as connection:
        platform.lease.release(connection)
    platform.context.disconnect()
