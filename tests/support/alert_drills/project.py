"""The project that drills run on: its fleet.yaml, and Dags that fail, wait, call a service, and run each minute."""

from __future__ import annotations

MANY, TASKS, SLOTS = 12, 24, 24
POOL = "few"

FLEET = """\
name: alerts
executor: celery
schedulers: 2
dags: folder
parallelism: {slots}
ports: {{api: {api}}}
slot_pools: {{{pool}: {{slots: 1}}}}
breakers: {{partner: {{dag: calls, free_waits: 100}}}}
slas: {{promise: {{dag: holds, no_longer_than: 20s}}}}
notifications:
  watchdog: 3m
  receivers:
    mail:
      type: email
      to: [team@example.com]
      from: airfleet@example.com
      host: 127.0.0.1
      port: {mail}
      encryption: none
    hook: {{type: webhook, url: "{hook}"}}
  failures: [{{dag: fails}}]
"""

TASK_DAGS = """
import os, time, urllib.request
from datetime import timedelta
from pathlib import Path
from airflow.sdk import dag, task

HERE = Path(os.environ["AIRFLEET_PROJECT"])

@dag(schedule=None, is_paused_upon_creation=False, max_active_tasks=64)
def quick():
    @task
    def work(number):
        return number
    work.expand(number=list(range({tasks})))

@dag(schedule=None, is_paused_upon_creation=False, max_active_tasks=64)
def fails():
    @task
    def work(number):
        if (HERE / "broken").exists():
            raise ValueError(number)
    work.expand(number=list(range({tasks})))

@dag(schedule=None, is_paused_upon_creation=False)
def holds():
    @task(pool="{pool}")
    def work(number):
        while (HERE / "hold").exists():
            time.sleep(0.5)
    work.expand(number=[1, 2, 3])

@dag(schedule=None, is_paused_upon_creation=False)
def calls():
    @task(retries=2, retry_delay=timedelta(seconds=1))
    def work(number):
        with urllib.request.urlopen("http://127.0.0.1:{service}/", timeout=5) as answer:
            return answer.status
    work.expand(number=[1, 2, 3, 4])

quick(), fails(), holds(), calls()
"""

MINUTE_DAGS = """
import datetime
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

for number in range({count}):
    with DAG(
        f"{name}{{number}}", schedule="* * * * *", start_date=datetime.datetime(2026, 1, 1), catchup=False,
        is_paused_upon_creation=False,
    ) as one:
        EmptyOperator(task_id="work")
    globals()[one.dag_id] = one
"""


def list_files(*, api: int, mail: int, hook: str, service: int) -> dict[str, str]:
    """Return the texts of the project's files by path. `service` is the port that the Dag `calls` calls."""
    return {
        "fleet.yaml": FLEET.format(slots=SLOTS, api=api, pool=POOL, mail=mail, hook=hook),
        "dags/tasks.py": TASK_DAGS.format(tasks=TASKS, pool=POOL, service=service),
        "dags/one.py": MINUTE_DAGS.format(count=1, name="one"),
        "dags/many.py": MINUTE_DAGS.format(count=MANY, name="many"),
    }
