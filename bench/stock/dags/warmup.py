"""A Dag that runs before the measurement, so that no figure contains the first call of a process."""

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
