"""Run before anything is measured, so that no figure has a process's first call in it."""

from airflow.sdk import dag, task


@dag(schedule=None, tags=["bench"])
def warmup() -> None:
    @task
    def first() -> list[int]:
        return list(range(16))

    @task
    def many(number: int) -> int:
        return number

    many.expand(number=first())


warmup()
