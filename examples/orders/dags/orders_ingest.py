"""Fetches the orders of a day from the shop's API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import CronDataIntervalTimetable, PokeReturnValue, dag, task

from include.assets import RAW
from include.settings import DAY, DEFAULT_ARGS, SHOP_API, WAREHOUSE

if TYPE_CHECKING:
    from httpx import Client

DOC = """
### orders_ingest

Once for each day: waits until the shop has closed the day, fetches its orders, and replaces them in `raw_orders`.

* **If the API is away, nothing fails.** The breaker `shop_api` of fleet.yaml lets `wait_for_close` and `fetch_orders`
  wait. `airfleet breaker list` shows it.
* **Run it again at any time.** A day is replaced in one transaction, and the run is about its own day, not about today.
"""


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2025, 1, 6),
    end_date=datetime(2025, 1, 12),
    catchup=True,
    max_active_runs=3,
    # A run that takes a day would meet the next one.
    dagrun_timeout=timedelta(hours=20),
    default_args=DEFAULT_ARGS,
    tags=["orders", "ingest"],
    doc_md=DOC,
)
def orders_ingest() -> None:
    # `reschedule` gives the slot back between two looks. Every look costs the API a call and the platform a process:
    # for something that happens once a day, one a minute is often enough, and after 12 hours a person should look.
    @task.sensor(pool=SHOP_API, mode="reschedule", poke_interval=60, timeout=timedelta(hours=12).total_seconds())
    def wait_for_close(day: str) -> PokeReturnValue:
        """Wait, without holding a slot, until the shop has closed the day."""
        from include.api import get

        with open_api() as client:
            return PokeReturnValue(is_done=get(client, f"/days/{day}")["closed"])

    @task(pool=SHOP_API, execution_timeout=timedelta(minutes=2))
    def fetch_orders(day: str) -> int:
        """Write the orders of the day into a file, whole or not at all. Only their number goes into an XCom."""
        import json

        from include.api import fetch_day, write_whole
        from include.settings import day_file

        with open_api() as client:
            orders = fetch_day(client, day)
        write_whole(day_file(day), json.dumps(orders).encode())
        return len(orders)

    @task(pool=WAREHOUSE, outlets=[RAW])
    def load_orders(day: str, fetched: int) -> int:
        """Replace the day in the warehouse. If this task runs again, the API is not called again."""
        import json

        from include.settings import day_file
        from include.warehouse import connect, replace_day

        with connect() as connection:
            loaded = replace_day(connection, day, json.loads(day_file(day).read_bytes()))
        if loaded != fetched:
            raise ValueError(f"{day}: {fetched} orders were fetched, and {loaded} loaded")
        return loaded

    closed = wait_for_close(DAY)
    fetched = fetch_orders(DAY)
    closed >> fetched
    load_orders(DAY, fetched)


def open_api() -> Client:
    """Open a client of the shop's API at the address of the connection."""
    import httpx
    from airflow.sdk import Connection

    shop = Connection.get(SHOP_API)
    return httpx.Client(base_url=f"http://{shop.host}:{shop.port}")


orders_ingest()
