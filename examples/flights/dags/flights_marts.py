"""Makes the tables people query from the flights that are loaded."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.sql.operators.sql import SQLCheckOperator, SQLExecuteQueryOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Label, dag, task

from include.assets import FLIGHTS, MARTS
from include.settings import CONNECTION, DEFAULT_ARGS, MOST_REFUSED, POOL, SQL, WEATHER_BANDS, Z

DOC = """
### flights_marts

Starts whenever `flights_ingest` has settled a month. Months that settle while it runs start it once more, so the last
run always sees every month.

1. **A gate on the facts**: no row lost, destinations known, few rows refused. Nothing is made from facts that fail.
2. **Monthly marts** of the months that changed: on-time performance by carrier, route and month; hours; weather.
3. **A branch**: when the year is complete (`flights_year_months`) and has changed, the tables of the year, a gate on
   all marts, and the asset `warehouse.flights_marts`, which starts `flights_report`. Otherwise the run ends at `wait`.

On time means what the United States' statistics mean by it: at the gate less than 15 minutes late
(`flights_on_time_minutes`), out of all scheduled flights; cancelled and diverted ones are not on time.
"""


@dag(
    schedule=[FLIGHTS],
    start_date=datetime(2013, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "pool": POOL},
    template_searchpath=[str(SQL)],
    tags=["flights", "marts"],
    doc_md=DOC,
)
def flights_marts() -> None:
    check_facts = SQLCheckOperator(
        task_id="check_facts",
        conn_id=CONNECTION,
        sql="check_facts.sql",
        params={"most_refused": MOST_REFUSED},
    )
    refresh_months = SQLExecuteQueryOperator(
        task_id="refresh_months",
        conn_id=CONNECTION,
        sql="refresh_months.sql",
        params={"weather_bands": WEATHER_BANDS},
        split_statements=False,
        do_xcom_push=False,
    )

    @task.branch
    def choose_scope() -> str:
        """Go on to the year when all its months are made and it was not yet published from them."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        from include.settings import read_year_months
        from include.warehouse import year_is_due

        return "refresh_year" if year_is_due(PostgresHook(CONNECTION).get_conn(), read_year_months()) else "wait"

    refresh_year = SQLExecuteQueryOperator(
        task_id="refresh_year",
        conn_id=CONNECTION,
        sql="refresh_year.sql",
        params={"z": Z},
        split_statements=False,
        do_xcom_push=False,
    )
    check_marts = SQLCheckOperator(task_id="check_marts", conn_id=CONNECTION, sql="check_marts.sql")
    publish_year = SQLExecuteQueryOperator(
        task_id="publish_year",
        conn_id=CONNECTION,
        sql="publish_year.sql",
        outlets=[MARTS],
        do_xcom_push=False,
    )
    wait = EmptyOperator(task_id="wait")

    scope = choose_scope()
    check_facts >> refresh_months >> scope
    scope >> Label("year complete") >> refresh_year >> check_marts >> publish_year
    scope >> Label("months missing, or nothing new") >> wait


flights_marts()
