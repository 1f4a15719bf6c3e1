"""Names, places and limits that the three Dags share."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from include.alerts import report_failure

CONNECTION = "warehouse"
POOL = "warehouse"
PROJECT = Path(__file__).resolve().parent.parent
SQL = PROJECT / "include" / "sql"

YEAR_MONTHS = 12

# More than this share of a month in quarantine is a broken delivery, not a few bad rows.
MOST_REFUSED = 0.05

# Of the standard normal distribution, for intervals of 95 %.
Z = 1.959964

# Bands of an hour's weather, from fair to foul: a name, from, below.
WEATHER_BANDS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "precip": (("none", 0, 0.005), ("< 0.05", 0.005, 0.05), ("0.05-0.2", 0.05, 0.2), ("≥ 0.2", 0.2, 1e6)),
    "visib": (("10", 10, 1e6), ("5-10", 5, 10), ("2-5", 2, 5), ("< 2", -1, 2)),
    "wind_speed": (("< 10", -1, 10), ("10-15", 10, 15), ("15-20", 15, 20), ("20-25", 20, 25), ("≥ 25", 25, 1e6)),
}

# {{ params.month }} is for runs by hand; a scheduled run is about the interval it closes.
MONTH = "{{ params.month or data_interval_start.strftime('%Y-%m') }}"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "flight-data",
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=2),
    "execution_timeout": timedelta(minutes=5),
    "on_failure_callback": report_failure,
}


def state_folder() -> Path:
    """Return the writable folder of this project."""
    return Path(os.environ.get("AIRFLEET_STATE") or PROJECT / ".airfleet") / "flights"


def landing_folder() -> Path:
    """Return the folder where the airline system puts its files."""
    return _folder("flights_landing", "landing")


def staging_folder() -> Path:
    """Return the folder where judged rows wait for their load."""
    return _folder("flights_staging", "staging")


def report_folder() -> Path:
    """Return the folder people read the report from."""
    return _folder("flights_reports", "report")


def read_year_months() -> int:
    """Return how many months make a year worth reporting."""
    from airflow.sdk import Variable

    return int(Variable.get("flights_year_months", default=YEAR_MONTHS))


def _folder(variable: str, leaf: str) -> Path:
    from airflow.sdk import Variable

    return Path(Variable.get(variable, default=None) or state_folder() / leaf)
