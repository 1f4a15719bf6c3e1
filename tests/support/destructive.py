"""Reads docs/reference/destructive-commands.md for the tests that hold it to Airflow's commands and routes."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "destructive-commands.md"


def read_tables() -> tuple[dict[str, str], dict[str, str]]:
    """Return the documented effect of each command of Airflow's command line, and of each route of its REST API."""
    commands, routes = PAGE.read_text().split("## The REST API")
    return _read_rows(commands), _read_rows(routes)


def _read_rows(text: str) -> dict[str, str]:
    rows = (line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `"))
    return {row[0].strip("`"): row[-1] for row in rows}
