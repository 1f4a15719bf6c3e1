"""The Celery worker of `slots.py`: airfleet's consumer, drain and limit of slots, with tasks that only sleep."""

from __future__ import annotations

import os
import time

from celery import Celery

from airfleet_provider.executors import celery_config, worker_drain

QUEUE = "default"
# A real worker looks twice a second.
worker_drain.LOOK_EVERY_S = 0.05

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
    """Note the beginning and the end of this task."""
    _note(f"begun {name}\n")
    time.sleep(seconds)
    _note(f"ended {name}\n")


def _note(line: str) -> None:
    file = os.open(os.environ["SLOTS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
