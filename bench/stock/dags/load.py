"""A Dag of the reference load with a cron: a start, eight parallel tasks, an end. The file is copied for each Dag.

The cron is due once a year; `bench/load.py` moves the moment of the next run. Each task sleeps for as long as a file
says that the bench writes.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import dag, task

WIDTH = 8
SECONDS = Path(tempfile.gettempdir()) / "airfleet-bench-load" / "seconds"


@dag(
    dag_id=Path(__file__).stem,
    schedule="0 0 1 1 *",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=100,
    tags=["bench"],
)
def load() -> None:
    @task
    def begin() -> None:
        time.sleep(float(SECONDS.read_text()))

    @task
    def end() -> None:
        time.sleep(float(SECONDS.read_text()))

    first, last = begin(), end()
    for part in range(WIDTH):

        @task(task_id=f"part_{part}")
        def work() -> None:
            time.sleep(float(SECONDS.read_text()))

        first >> work() >> last


load()
