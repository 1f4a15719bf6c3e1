"""Makes the tables people query from the orders that were fetched."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.sql.operators.sql import SQLCheckOperator, SQLExecuteQueryOperator
from airflow.sdk import dag

from include.assets import MARTS, RAW
from include.models import read_models, write_publish
from include.settings import DEFAULT_ARGS, WAREHOUSE

DOC = """
### orders_marts

Starts whenever `orders_ingest` has loaded a day. Days that arrive while it runs start it once more.

A file of `include/sql/models` is one table. Each is built in the schema `build` and judged there by the file of the
same name in `include/sql/checks`. When all checks pass, `publish` copies every table to the schema `marts` in one
transaction. **If a check fails, people go on reading the tables of yesterday.**
"""


@dag(
    schedule=[RAW],
    start_date=datetime(2025, 1, 6),
    catchup=False,
    max_active_runs=1,  # two refreshes at once would replace each other's tables
    default_args={**DEFAULT_ARGS, "pool": WAREHOUSE},
    tags=["orders", "marts"],
    doc_md=DOC,
)
def orders_marts() -> None:
    models = read_models()
    publish = SQLExecuteQueryOperator(
        task_id="publish",
        conn_id=WAREHOUSE,
        sql=write_publish(models),
        split_statements=False,
        do_xcom_push=False,
        outlets=[MARTS],
    )
    checks: dict[str, SQLCheckOperator] = {}
    for model in models:
        build = SQLExecuteQueryOperator(
            task_id=f"build_{model.name}",
            conn_id=WAREHOUSE,
            sql=model.build,
            split_statements=False,
            do_xcom_push=False,
        )
        check = SQLCheckOperator(task_id=f"check_{model.name}", conn_id=WAREHOUSE, sql=model.check)
        [checks[name] for name in model.needs] >> build >> check >> publish
        checks[model.name] = check


orders_marts()
