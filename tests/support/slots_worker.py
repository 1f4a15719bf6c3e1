"""The Celery worker of `slot_site.py`: airfleet's consumer, drain and limit of slots, with tasks that only sleep."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

from airfleet_provider.contract import environment
from airfleet_provider.executors import celery_config, slot_limit, worker_drain

QUEUE = "default"
# A real worker looks twice a second.
worker_drain.LOOK_EVERY_S = 0.05
slot_limit.GIVEN_UP_S = float(os.environ.get("SLOTS_GIVEN_UP_S", slot_limit.GIVEN_UP_S))

app = Celery()
app.config_from_object(
    {
        **celery_config.make_config(
            {"task_acks_late": True, "worker_prefetch_multiplier": 1}, celery_config.read_link()
        ),
        "imports": [],
        "result_backend": None,
        "override_backends": {},
        "task_ignore_result": True,
        "broker_connection_retry_on_startup": True,
    }
)
app.steps["consumer"].add(worker_drain.WorkerDrain)


@app.task(name="work")  # type: ignore[untyped-decorator]
def work(name: str, seconds: float) -> None:
    """Note the beginning and the end of this task, each with its host and the moment.

    With a file of this name in the folder of the log, it does not end until the file is gone.
    """
    _note("begun", name)
    time.sleep(seconds)
    while (Path(os.environ["SLOTS_LOG"]).parent / name).exists():
        time.sleep(0.05)
    _note("ended", name)


def _note(what: str, name: str) -> None:
    url = os.environ[environment.SLOTS] or os.environ[environment.DRAINS]
    host = url.rpartition("/")[2]
    file = os.open(os.environ["SLOTS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{what} {name} {host} {time.time():.3f}\n".encode())
    os.close(file)
