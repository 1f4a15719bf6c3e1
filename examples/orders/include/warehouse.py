"""What is written to the warehouse besides the models. Each function is one transaction that can be run again."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.settings import SQL

if TYPE_CHECKING:
    from psycopg import Connection

# Taken for the length of a transaction, so that two first runs do not both make the tables.
LOCK = 20250106


@contextmanager
def connect() -> Iterator[Connection[Any]]:
    """Yield a connection to the warehouse; commit at the end, roll back after an error, and close it."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    from include.settings import WAREHOUSE

    connection: Connection[Any] = PostgresHook(WAREHOUSE).get_conn()
    with connection:
        yield connection


def prepare(connection: Connection[Any]) -> None:
    """Create the tables that are missing."""
    connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
    connection.execute((SQL / "schema.sql").read_text())


def replace_day(connection: Connection[Any], day: str, orders: Iterable[Mapping[str, Any]]) -> int:
    """Make the warehouse hold exactly these orders of the day, as delivered, and return their number."""
    prepare(connection)
    with connection.cursor() as cursor:
        cursor.execute("delete from raw_orders where day = %s", (day,))
        number = 0
        with cursor.copy("copy raw_orders (day, line, payload) from stdin") as copy:
            for number, order in enumerate(orders, start=1):
                copy.write_row((day, number, json.dumps(order)))
    return number


def replace_payouts(connection: Connection[Any], path: Path) -> int:
    """Make the warehouse hold what the bank's file says, and return for how many days that is."""
    prepare(connection)
    with path.open(newline="") as file:
        rows = [(row["day"], int(row["paid_cents"])) for row in csv.DictReader(file)]
    with connection.cursor() as cursor:
        cursor.execute("delete from payouts")
        cursor.executemany("insert into payouts (day, paid_cents) values (%s, %s)", rows)
    return len(rows)


def list_differences(connection: Connection[Any]) -> list[tuple[str, int, int]]:
    """Return the days on which bank and shop differ: the day, what was expected, and what was paid, in cents."""
    cursor = connection.execute((SQL / "payout_differences.sql").read_text())
    return [(str(day), int(expected), int(paid)) for day, expected, paid in cursor.fetchall()]
