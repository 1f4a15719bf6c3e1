"""`chain`: ten Dags of ten empty tasks in a chain; this file is copied once for each Dag."""

from pathlib import Path

from airflow.sdk import dag, task

LENGTH = 10


@dag(dag_id=Path(__file__).stem, schedule=None, tags=["bench"])
def chain() -> None:
    previous = None
    for position in range(LENGTH):

        @task(task_id=f"step_{position:02}")
        def step() -> None:
            pass

        current = step()
        if previous is not None:
            previous >> current
        previous = current


chain()
