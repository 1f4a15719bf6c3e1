"""A Dag that passes every check, the house rules among them."""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Variable, dag, task


@dag(
    schedule="0 6 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["sales"],
    default_args={"owner": "data-platform", "retries": 2, "execution_timeout": timedelta(hours=1)},
)
def good() -> None:
    """Counts yesterday's sales."""

    @task(pool="crm", queue="memory")
    def count() -> str:
        return Variable.get("region", default="eu")

    report = BashOperator(task_id="report", bash_command="echo {{ var.value.region }} {{ conn.crm.host }}")
    count() >> report


made = good()
