"""Compares what the bank paid with what the shop sold."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import dag, task

from include.assets import MARTS, PAYOUTS
from include.settings import DEFAULT_ARGS, LANDING, WAREHOUSE, bank_file

DOC = """
### orders_payouts

Starts when the marts are published, and waits for the bank's file: a **deferrable** sensor. While it waits, it has no
process and no slot; the triggerer looks for the file, for a thousand such tasks in one process. Then it names the days
on which bank and shop differ.
"""


@dag(
    schedule=[MARTS],
    start_date=datetime(2025, 1, 6),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    user_defined_macros={"bank_file": bank_file},
    tags=["orders", "payouts"],
    doc_md=DOC,
)
def orders_payouts() -> None:
    wait_for_bank = FileSensor(
        task_id="wait_for_bank",
        fs_conn_id=LANDING,
        filepath="{{ bank_file() }}",
        deferrable=True,
        poke_interval=10,
        timeout=timedelta(hours=36).total_seconds(),
        # Of a deferrable task, this counts the wait too: 5 minutes, as for all other tasks, would end it.
        execution_timeout=timedelta(hours=37),
    )

    @task(pool=WAREHOUSE)
    def load_payouts() -> int:
        """Replace what the bank has said."""
        from include.warehouse import connect, replace_payouts

        with connect() as connection:
            return replace_payouts(connection, bank_file())

    @task(outlets=[PAYOUTS])
    def compare() -> list[dict[str, str | int]]:
        """Name the days that differ. A difference is a result that people look into, not a failed task."""
        from include.warehouse import connect, list_differences

        with connect() as connection:
            found = list_differences(connection)
        return [{"day": day, "expected": expected, "paid": paid} for day, expected, paid in found]

    wait_for_bank >> load_payouts() >> compare()


orders_payouts()
