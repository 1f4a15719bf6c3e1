"""Keeps the live Dags in Airflow's tables although no process parses their files again.

`airflow db clean` removes Dags and import errors that were not parsed for long. Airflow's own Dag processor parses
every file every 30 s and so writes removed rows back. The releaser parses a file once. It therefore renews the
parse times of the live Dags once an hour, and publishes missing Dags again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airfleet_provider.contract.statements import Statements
from airfleet_provider.database import run

SQL = Statements(__package__, "parse_times")

EVERY_S = 60.0


def refresh(session: Any, bundle: str) -> int:  # noqa: ANN401 - sqlalchemy.orm.Session
    """Renew parse times older than an hour of a bundle's live Dags and import errors; return the number of Dags."""
    run(session, SQL["refresh_errors"], bundle=bundle)
    return int(run(session, SQL["refresh_dags"], bundle=bundle).rowcount)


def list_live(session: Any, bundle: str) -> list[str]:  # noqa: ANN401 - sqlalchemy.orm.Session
    """Return the ids of the Dags of a bundle's live release."""
    return list(run(session, SQL["list_live"], bundle=bundle).scalars())


def list_missing(session: Any, bundle: str, dags: Collection[str]) -> list[str]:  # noqa: ANN401 - as above
    """Return those of the Dags of a bundle that Airflow's tables lack or mark as stale."""
    return list(run(session, SQL["list_missing"], bundle=bundle, dags=list(dags)).scalars())
