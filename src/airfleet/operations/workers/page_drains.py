"""Ends what the Fleet pages drain: rows of the metadata database, of which workers learn when they report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from airfleet.operations import metadata_database
from airfleet.operations.workers.status import Worker
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract import slot_list

REASON = "airfleet workers resume"


def end(project: Path, state: Path | None, workers: Iterable[Worker], *, actor: str) -> None:
    """Let workers that were drained on a page take tasks again, and write it to Airflow's audit log.

    Raises:
        AirfleetError: The database does not answer.
    """
    project = find_project(project)
    with metadata_database.connect(read_fleet(project), project, state, what="drained workers") as connection:
        resume(connection, workers, actor=actor)


def resume(connection: psycopg.Connection[dict[str, Any]], workers: Iterable[Worker], *, actor: str) -> None:
    """Do so over a connection."""

    def query(statement: LiteralString, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return connection.execute(statement, values).fetchall()

    chosen = [(worker.pool, worker.host) for worker in workers]
    slot_list.drain(query, chosen, actor=actor, reason=REASON, drained=False)
