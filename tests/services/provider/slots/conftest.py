"""Airflow's own tables, and airfleet's, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import servers
from airflow_tables import serve


@pytest.fixture(scope="package")
def server() -> Iterator[servers.Server]:
    with serve() as one:
        yield one
