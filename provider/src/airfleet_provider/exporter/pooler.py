"""Reads what PgBouncer says of its pools, on the console of the one that the agents reach the database through."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract.text import one_line
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.limits import LabelLimits, Labels

log = logging.getLogger(__name__)

NAME = "pooler"
# The name of PgBouncer's console. It is no database of the server.
CONSOLE = "pgbouncer"
# libpq asks a server whether it takes writes, and the console knows no such question. Where several hosts have a
# database, PgBouncer runs on the one with the primary alone.
NOT_ASKED = ("target_session_attrs",)
MICROSECONDS = 1e6
UP = "airfleet_pooler_up"
# The columns of SHOW POOLS, which has a row for each database and login.
CLIENTS = {"active": "cl_active", "waiting": "cl_waiting"}
CONNECTIONS = {"active": "sv_active", "idle": "sv_idle"}
# The columns of SHOW STATS, and what they are divided by.
TOTALS = {
    "airfleet_pooler_transactions_total": ("total_xact_count", 1.0),
    "airfleet_pooler_transaction_seconds_total": ("total_xact_time", MICROSECONDS),
    "airfleet_pooler_wait_seconds_total": ("total_wait_time", MICROSECONDS),
}
Rows = Sequence[Mapping[str, Any]]


class PoolerLoop:
    """The loop that reads. Only the active process runs it.

    A PgBouncer that does not answer is a fact, and no failure of the loop: other alerts say that the database is away.
    """

    def __init__(self, board: Board, limits: LabelLimits, database: Mapping[str, Any]) -> None:
        """`database` are libpq's keywords for the metadata database behind PgBouncer."""
        self._board = board
        self._limits = limits
        self._console = {key: value for key, value in database.items() if key not in NOT_ASKED} | {"dbname": CONSOLE}
        self._said = ""

    def once(self, context: Context) -> None:
        """Read everything and publish it."""
        try:
            # Each time anew: it is another PgBouncer after a fail-over.
            with connect(self._console, context.name) as console:
                pools, databases, totals = (
                    console.execute(f"SHOW {what}").fetchall() for what in ("POOLS", "DATABASES", "STATS")
                )
        except psycopg.Error as error:
            if (said := one_line(str(error))) != self._said:  # the same error again and again is said once
                log.warning("PgBouncer does not say how its pools are: %s", said)
            self._said = said
            self._board.publish(NAME, {UP: {(): 0.0}})
            return
        self._said = ""
        facts = summarise(pools, databases, totals)
        self._board.publish(NAME, {name: self._limits.fold(name, series) for name, series in facts.items()})


def summarise(pools: Rows, databases: Rows, totals: Rows) -> dict[str, dict[Labels, float]]:
    """Return the values of each metric. The logins of a database add up."""
    values: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
    values[UP][()] = 1.0

    def add(metric: str, labels: Labels, amount: float) -> None:
        values[metric][labels] = values[metric].get(labels, 0.0) + amount

    for row in pools:
        if (database := str(row["database"])) == CONSOLE:
            continue
        for state, column in CLIENTS.items():
            add("airfleet_pooler_clients", (database, state), float(row[column]))
        for state, column in CONNECTIONS.items():
            add("airfleet_pooler_connections", (database, state), float(row[column]))
        waits = values["airfleet_pooler_longest_wait_seconds"]
        waited_s = float(row["maxwait"]) + float(row["maxwait_us"]) / MICROSECONDS
        waits[database,] = max(waits.get((database,), 0.0), waited_s)
    for row in databases:
        if row["name"] != CONSOLE:
            values["airfleet_pooler_connections_max"][str(row["name"]),] = float(row["pool_size"])
    for row in totals:
        if row["database"] != CONSOLE:
            for metric, (column, unit) in TOTALS.items():
                add(metric, (str(row["database"]),), float(row[column]) / unit)
    return dict(values)
