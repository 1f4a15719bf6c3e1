"""A Dag of the reference load: a start, eight parallel tasks, an end. This file is copied once for each Dag."""

from pathlib import Path

from airflow.sdk import dag, task

WIDTH = 8


@dag(dag_id=Path(__file__).stem, schedule=None, max_active_runs=100, tags=["bench"])
def reference() -> None:
    @task
    def begin() -> None:
        pass

    @task
    def end() -> None:
        pass

    first, last = begin(), end()
    for part in range(WIDTH):

        @task(task_id=f"part_{part}")
        def work() -> None:
            pass

        first >> work() >> last


reference()
