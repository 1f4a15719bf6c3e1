"""Loads the flights of a month."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import CronDataIntervalTimetable, Metadata, Param, PokeReturnValue, dag, task

from include.assets import FLIGHTS
from include.settings import CONNECTION, DEFAULT_ARGS, MONTH, POOL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

DOC = """
### flights_ingest

Once for each month of 2013: waits for the file of the month, judges its rows, loads the good ones into `flights`
and the others, with a reason, into `flights_quarantine`.

* **Nothing is lost.** The last task compares the rows delivered with the rows in the warehouse, and only then
  tells `flights_marts` (asset `warehouse.flights`).
* **Run it again at any time.** Each partition (month, origin) is replaced in one transaction.
* **A bad row is quarantined, a bad file fails.** A checksum or a row count that differs from the control file stops
  the run before anything is written.
* **One month by hand:** trigger it with `{"month": "2013-05"}`.
"""


@dag(
    schedule=CronDataIntervalTimetable("0 0 1 * *", timezone="UTC"),
    start_date=datetime(2013, 1, 1),
    end_date=datetime(2013, 12, 31),
    catchup=True,
    max_active_runs=4,
    # Facts before marts: in a catch-up the marts wait for a free slot and then see many months at once.
    default_args={**DEFAULT_ARGS, "priority_weight": 10},
    params={
        "month": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-(0[1-9]|1[0-2])$",
            description="A month such as 2013-05; empty: the month of the run.",
        )
    },
    tags=["flights", "ingest"],
    doc_md=DOC,
)
def flights_ingest() -> None:
    @task.sensor(mode="reschedule", poke_interval=30, timeout=timedelta(days=7).total_seconds())
    def wait_for_delivery(month: str) -> PokeReturnValue:
        """Wait, without holding a slot, until the files of the month are complete."""
        from include.deliveries import Month, is_delivered
        from include.settings import landing_folder

        return PokeReturnValue(is_done=is_delivered(landing_folder(), Month.parse(month)))

    @task(pool=POOL)
    def prepare_warehouse() -> list[str]:
        """Create missing tables and load the reference files that changed."""
        from include.settings import landing_folder
        from include.warehouse import prepare

        return prepare(connect(), landing_folder())

    @task
    def validate(month: str) -> list[dict[str, Any]]:
        """Judge every row of the month and stage it by origin; only counts travel on to the loads."""
        from dataclasses import asdict

        from include.deliveries import Month, read_month, reference_file
        from include.rules import judge, read_facts, read_rows
        from include.settings import landing_folder, staging_folder
        from include.staging import stage_month

        landing, this = landing_folder(), Month.parse(month)
        references = [reference_file(landing, name).read_bytes() for name in ("airlines", "airports")]
        verdict = judge(read_rows(read_month(landing, this)), read_facts(this, *references))
        for reason, rows in verdict.rejected["reason"].value_counts().items():
            print(f"{rows} rows to quarantine: {reason}")
        return [asdict(partition) for partition in stage_month(staging_folder(), this, verdict)]

    @task(pool=POOL, map_index_template="{{ task.op_kwargs['partition']['origin'] }}")
    def load(partition: dict[str, Any]) -> None:
        """Replace one partition of the month in one transaction."""
        from include.partition import Partition
        from include.settings import staging_folder
        from include.warehouse import replace_partition

        replace_partition(connect(), staging_folder(), Partition(**partition))

    @task(pool=POOL, outlets=[FLIGHTS])
    def settle(month: str, partitions: list[dict[str, Any]]) -> Iterator[Metadata]:
        """Prove that every delivered row is loaded or quarantined, and tell the marts."""
        from dataclasses import asdict

        from include.deliveries import Month, read_control
        from include.partition import Partition
        from include.settings import landing_folder
        from include.warehouse import settle as settle_month

        this = Month.parse(month)
        parts = [Partition(**partition) for partition in partitions]
        settlement = settle_month(connect(), this, read_control(landing_folder(), this), parts)
        yield Metadata(FLIGHTS, extra=asdict(settlement))

    partitions = validate(MONTH)
    prepared = prepare_warehouse()
    loaded = load.expand(partition=partitions)
    wait_for_delivery(MONTH) >> [partitions, prepared]
    prepared >> loaded >> settle(MONTH, partitions)


def connect() -> Connection[Any]:
    """Open a connection to the warehouse."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    connection: Connection[Any] = PostgresHook(CONNECTION).get_conn()
    return connection


flights_ingest()
