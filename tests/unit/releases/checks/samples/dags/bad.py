"""A Dag that breaks every house rule and names what no platform has."""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, task, task_group

with DAG(
    "Bad-Dag",
    schedule="* * * * *",
    start_date=datetime(2020, 1, 1),
    catchup=True,
) as bad:
    FileSensor(
        task_id="wait",
        filepath="x",
        fs_conn_id="warehuose",
    )
    for region in ("north", "south"):
        BashOperator(task_id=f"load_{region}", bash_command=f"{{{{ var.value.key_{region} }}}}")

    @task_group
    def group() -> None:
        BashOperator.partial(
            task_id="mapped",
            pool="crn",
        ).expand(bash_command=["a", "{{ conn.crm_old.host }}"])

        @task(queue="gpu", retries=1, execution_timeout=timedelta(minutes=1))
        def train() -> None: ...

        train()

    group()
