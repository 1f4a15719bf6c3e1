"""The figures of the report: read from the marts once, then kept as plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.files import write_whole
from include.settings import SQL

if TYPE_CHECKING:
    from psycopg import Connection

Row = dict[str, Any]
Figures = dict[str, list[Row]]

NAMES = ("made", "months", "reasons", "carriers", "hours", "origins", "weather", "routes", "airports")
ENOUGH_FLIGHTS = 1_000


def read_figures(connection: Connection[Any]) -> Figures:
    """Return all figures as of one moment and close the connection."""
    figures: Figures = {}
    with connection, connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        for name in NAMES:
            cursor.execute((SQL / "figures" / f"{name}.sql").read_text())
            columns = [column.name for column in cursor.description or ()]
            figures[name] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return figures


def save_figures(path: Path, figures: Figures) -> Path:
    """Write the figures, the same bytes for the same figures."""
    write_whole(path, (json.dumps(figures, sort_keys=True) + "\n").encode())
    return path


def load_figures(path: Path) -> Figures:
    """Return figures as they were saved."""
    figures: Figures = json.loads(path.read_text())
    return figures


def total(rows: list[Row], field: str) -> int:
    """Return the sum of a field."""
    return sum(row[field] for row in rows)


def rank_carriers(figures: Figures) -> list[Row]:
    """Return the carriers with enough flights, the most punctual first."""
    return [row for row in figures["carriers"] if row["flights"] >= ENOUGH_FLIGHTS]


def summarize(figures: Figures) -> dict[str, Any]:
    """Return the totals that a program would ask for."""
    months, ranked = figures["months"], rank_carriers(figures)
    loaded = total(months, "loaded")
    return {
        "settled_at": figures["made"][0]["settled_at"],
        "months": [{name: row[name] for name in ("month", "rows", "loaded", "quarantined")} for row in months],
        "rows": total(months, "rows"),
        "loaded": loaded,
        "quarantined": total(months, "quarantined"),
        "quarantined_by_reason": {row["reason"]: row["rows"] for row in figures["reasons"]},
        "cancelled": total(months, "cancelled"),
        "diverted": total(months, "diverted"),
        "arrived": total(months, "arrived"),
        "on_time": total(months, "on_time"),
        "on_time_rate": round(total(months, "on_time") / loaded, 4) if loaded else None,
        "best_carrier": _describe_carrier(ranked[0]) if ranked else None,
        "worst_carrier": _describe_carrier(ranked[-1]) if ranked else None,
    }


def dump_summary(figures: Figures) -> bytes:
    """Return the summary as a JSON file."""
    return (json.dumps(summarize(figures), indent=2) + "\n").encode()


def _describe_carrier(row: Row) -> Row:
    return {
        "carrier": row["carrier"],
        "name": row["name"],
        "flights": row["flights"],
        "on_time_rate": round(row["on_time_rate"], 4),
    }
