"""`fan`: one task, two hundred mapped tasks that read its XCom, and one task that reads all of theirs."""

from airflow.sdk import dag, task

WIDTH = 200


@dag(schedule=None, tags=["bench"])
def fan() -> None:
    @task
    def spread() -> list[int]:
        return list(range(WIDTH))

    @task
    def square(number: int) -> int:
        return number * number

    @task
    def gather(squares: list[int]) -> int:
        total = sum(squares)
        if total != sum(number * number for number in range(WIDTH)):
            raise ValueError(f"an XCom was lost: {total}")
        return total

    gather(square.expand(number=spread()))


fan()
