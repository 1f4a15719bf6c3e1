"""Names, places and limits that the Dags share."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

# Names say what a thing is: a connection and its slot pool are called like the service that they protect.
WAREHOUSE = "warehouse"
SHOP_API = "shop_api"
LANDING = "landing"

# Of the scoring. A mapped task instance costs a row, a process and a slot, so batches are few.
BATCHES = 4

PROJECT = Path(__file__).resolve().parent.parent
SQL = PROJECT / "include" / "sql"

# The day of a scheduled run is the one that its data interval covers: never `now`, so that a run repeated next year
# is about the same day.
DAY = "{{ data_interval_start | ds }}"

# Each task ends, by itself or by its time-out. A platform without time-outs fills with tasks that wait for nothing.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "shop-data",
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "execution_timeout": timedelta(minutes=5),
}


def state_folder() -> Path:
    """Return the writable folder of this project."""
    return Path(os.environ.get("AIRFLEET_STATE") or PROJECT / ".airfleet") / "orders"


def landing_folder() -> Path:
    """Return where files wait for their load. On a fleet, the variable `orders_landing` names a shared folder."""
    from airflow.sdk import Variable

    return Path(Variable.get("orders_landing", default=None) or state_folder() / "landing")


def day_file(day: str) -> Path:
    """Return where the orders of a day wait for their load."""
    return landing_folder() / f"orders-{day}.json"


def bank_file() -> Path:
    """Return where the bank delivers what it paid."""
    return landing_folder() / "payouts.csv"
