"""Which slot pools and runs are saturated: more tasks wait than they have room for. Such a task may not run yet.

A wait for room is what the author of the Dag asked for, and no lateness of the platform. The rules are those of
Airflow's scheduler: the slots of a pool, and `max_active_tasks` of a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import Connection

from airfleet_provider.agent_loops.lease import Row
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "saturation")


@dataclass(frozen=True, slots=True)
class Saturation:
    """The pools and the runs that are saturated at one moment."""

    pools: frozenset[str] = frozenset()
    runs: frozenset[tuple[str, str]] = frozenset()

    def holds_up(self, dag_id: str, run_id: str, pool: str | None) -> bool:
        """Return whether a task of this run and pool may have to wait for room."""
        return pool in self.pools or (dag_id, run_id) in self.runs


def read(connection: Connection[Row]) -> Saturation:
    """Return what is saturated now. Only unfinished tasks are read, by the index of their states."""
    pools = frozenset(row["pool"] for row in connection.execute(SQL["pools"]))
    runs = frozenset((row["dag_id"], row["run_id"]) for row in connection.execute(SQL["runs"]))
    return Saturation(pools, runs)
