"""A day's sales, summed up by product: an example to change, or to delete."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.sdk import dag, task

from include import sales

SALES = Path(__file__).parent.parent / "include" / "sales.csv"


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example"],
    default_args={
        "owner": "data-team",
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(minutes=5),
    },
)
def daily_sales() -> None:
    """Read the day's sales, refuse what cannot be true, and report a total for each product."""

    @task
    def total() -> dict[str, int]:
        """Sum up the cents of each product."""
        return sales.sum_by_product(sales.read(SALES.read_text()))

    @task
    def check(totals: dict[str, int]) -> dict[str, int]:
        """Stop here, before anybody reads a wrong report."""
        if wrong := sales.find_impossible(totals):
            raise ValueError(f"no product can have sold this: {', '.join(wrong)}")
        return totals

    @task
    def report(totals: dict[str, int]) -> list[str]:
        """Print a line for each product, the best first; they are in the task's log."""
        lines = sales.describe(totals)
        print("\n".join(lines))
        return lines

    report(check(total()))


daily_sales()
