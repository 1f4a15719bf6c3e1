"""`seq40`: one Dag of forty empty tasks in a chain."""

from airflow.sdk import dag, task

LENGTH = 40


@dag(schedule=None, tags=["bench"])
def seq40() -> None:
    previous = None
    for number in range(LENGTH):

        @task(task_id=f"step_{number:02}")
        def step() -> None:
            pass

        current = step()
        if previous is not None:
            previous >> current
        previous = current


seq40()
