"""The load of a drill: Dags whose tasks write an attempt log.

The settings are in include/drill_settings.py. With catchup, Airflow makes every due run, however late. So it is known
before the drill which runs must have ended at its end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Connection, Variable, get_current_context, task
from include.drill_ledger import work
from include.drill_settings import LOAD


def look_up(one: Any) -> dict[str, Any]:  # noqa: ANN401 - a RuntimeTaskInstance
    """Return what this task reads of a variable, a connection and an XCom that exist."""
    one.xcom_push("own", LOAD["secret"])
    return {
        "variable": Variable.get(LOAD["prefix"], default="a default"),
        "connection": Connection.get(LOAD["prefix"]).host,
        "XCom": one.xcom_pull(task_ids=one.task_id, key="own"),
    }


def do(seconds: float) -> None:
    """Run for some seconds, and record the attempt in the attempt log."""
    context = get_current_context()
    one = context["ti"]
    work(
        Path(LOAD["ledger"]),
        {
            "dag": one.dag_id,
            "run": context["logical_date"].isoformat(),
            "task": one.task_id,
            "map": one.map_index,
            "try": one.try_number,
        },
        seconds,
        lambda: [f"{name} {told!r}" for name, told in look_up(one).items() if told != LOAD["secret"]],
    )


for number in range(LOAD["dags"]):
    offset = timedelta(seconds=LOAD["every_s"] * number / LOAD["dags"])
    first = datetime.fromisoformat(LOAD["began"]) + offset
    with DAG(
        f"{LOAD['prefix']}_{number}",
        schedule=timedelta(seconds=LOAD["every_s"]),
        start_date=first,
        end_date=first + timedelta(seconds=LOAD["length_s"] - 1),
        catchup=True,
        max_active_runs=1000,
        max_active_tasks=1000,
        is_paused_upon_creation=False,
        default_args={"retries": 5, "retry_delay": timedelta(seconds=1)},
        tags=["drill"],
    ):
        queue = LOAD["queues"][number % len(LOAD["queues"])]
        task(task_id="short", queue=queue)(do)(LOAD["short_s"])
        if number == 0:
            task(task_id="long", queue=queue)(do)(LOAD["long_s"])
