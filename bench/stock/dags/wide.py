"""`wide`: ten Dags of twenty empty tasks that wait for nothing; this file is copied once for each Dag."""

from pathlib import Path

from airflow.sdk import dag, task

TASKS = 20


@dag(dag_id=Path(__file__).stem, schedule=None, tags=["bench"])
def wide() -> None:
    for part in range(TASKS):

        @task(task_id=f"part_{part:02}")
        def work() -> None:
            pass

        work()


wide()
