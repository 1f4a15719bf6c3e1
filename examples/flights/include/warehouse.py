"""What is written to the warehouse and how.

Every function is one transaction that can be run again, and closes the connection it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.deliveries import CONTROL_OF_REFERENCES, REFERENCES, Control, DeliveryError, Month, reference_file
from include.files import hash_bytes
from include.partition import FLIGHT_COLUMNS, QUARANTINE_COLUMNS, Partition

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

SQL = Path(__file__).parent / "sql"

# Taken for the length of a transaction; the second number is the month or 0.
LOCK = 20130101


class ReconciliationError(Exception):
    """Rows delivered and rows in the warehouse differ."""


@dataclass(frozen=True)
class Settlement:
    """What became of the rows of a delivered month."""

    month: str
    rows: int
    loaded: int
    quarantined: int
    settled_at: str = field(default="", compare=False)


def prepare(connection: Connection[Any], landing: Path) -> list[str]:
    """Create what is missing and load the reference files that changed; return their names."""
    with connection, connection.cursor() as cursor:
        _lock(cursor, 0)
        cursor.execute((SQL / "schema.sql").read_text())
        return [name for name in REFERENCES if _load_reference(cursor, landing, name)]


def replace_partition(connection: Connection[Any], staging: Path, partition: Partition) -> None:
    """Make the warehouse hold exactly the staged rows of a partition, or change nothing at all."""
    month = Month.parse(partition.month)
    key = {"month": month.first_day, "origin": partition.origin}
    with connection, connection.cursor() as cursor:
        _lock(cursor, month.year * 100 + month.number)
        cursor.execute("delete from flights where month = %(month)s and origin = %(origin)s", key)
        cursor.execute("delete from flights_quarantine where month = %(month)s and origin = %(origin)s", key)
        copied = (
            copy_csv(cursor, "flights", FLIGHT_COLUMNS, partition.flights_file(staging)),
            copy_csv(cursor, "flights_quarantine", QUARANTINE_COLUMNS, partition.quarantine_file(staging)),
        )
        if copied != (partition.accepted, partition.rejected):
            raise ReconciliationError(f"{partition}: copied {copied[0]} flights and {copied[1]} to quarantine")


def settle(connection: Connection[Any], month: Month, control: Control, partitions: Sequence[Partition]) -> Settlement:
    """Drop partitions the delivery no longer has, prove that no row was lost, and record the month as settled."""
    key = {"month": month.first_day, "origins": [partition.origin for partition in partitions]}
    with connection, connection.cursor() as cursor:
        _lock(cursor, month.year * 100 + month.number)
        for table in ("flights", "flights_quarantine"):
            cursor.execute(f"delete from {table} where month = %(month)s and origin <> all(%(origins)s)", key)
        loaded = _count(cursor, "select count(*) from flights where month = %(month)s", key)
        quarantined = _count(cursor, "select count(*) from flights_quarantine where month = %(month)s", key)
        settlement = Settlement(str(month), control.rows, loaded, quarantined)
        if loaded + quarantined != control.rows:
            raise ReconciliationError(f"rows do not add up: {settlement}")
        cursor.execute(
            (SQL / "settle.sql").read_text(),
            {**key, "rows": control.rows, "sha256": control.sha256, "loaded": loaded, "quarantined": quarantined},
        )
        (settled_at,) = cursor.fetchone() or ("",)
    return replace(settlement, settled_at=settled_at)


def year_is_due(connection: Connection[Any], year_months: int) -> bool:
    """Tell whether enough months are made and the year was not yet published from them."""
    with connection, connection.cursor() as cursor:
        cursor.execute((SQL / "year_is_due.sql").read_text(), {"year_months": year_months})
        row = cursor.fetchone()
        return bool(row and row[0])


def copy_csv(cursor: Cursor[Any], table: str, columns: Sequence[str], path: Path) -> int:
    """Append a CSV file with a header to a table and return the number of rows."""
    statement = f"copy {table} ({', '.join(columns)}) from stdin (format csv, header true)"
    with path.open("rb") as file, cursor.copy(statement) as copy:
        while block := file.read(1 << 18):
            copy.write(block)
    return cursor.rowcount


def _load_reference(cursor: Cursor[Any], landing: Path, name: str) -> bool:
    path = reference_file(landing, name)
    csv = path.read_bytes()
    sha256 = hash_bytes(csv)
    cursor.execute("select 1 from reference_files where name = %s and sha256 = %s", (name, sha256))
    if cursor.fetchone():
        return False
    if not csv.count(b"\n") > 1:
        raise DeliveryError(f"{path.name} is empty, although {CONTROL_OF_REFERENCES} is there")
    header = csv.split(b"\n", 1)[0].decode().strip()
    cursor.execute(f"delete from {name}")
    with cursor.copy(f"copy {name} ({header}) from stdin (format csv, header true, null 'NA')") as copy:
        copy.write(csv)
    cursor.execute((SQL / "clean_weather.sql").read_text())
    cursor.execute(
        "insert into reference_files (name, sha256) values (%s, %s) "
        "on conflict (name) do update set sha256 = excluded.sha256, loaded_at = now()",
        (name, sha256),
    )
    return True


def _lock(cursor: Cursor[Any], what: int) -> None:
    cursor.execute("select pg_advisory_xact_lock(%s, %s)", (LOCK, what))


def _count(cursor: Cursor[Any], query: str, parameters: dict[str, Any]) -> int:
    cursor.execute(query, parameters)
    row = cursor.fetchone()
    return int(row[0]) if row else 0
