"""A worker that lost its broker while some of its tasks run: the next tasks do not wait for the end of these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from celery import Celery

from airfleet_provider.executors.celery_config import make_queue
from brokers import serve
from deadline import PATIENCE_S, wait_until

DEFINITIONS = {
    "vhosts": [{"name": "airfleet"}],
    "users": [{"name": "tests", "password": "only-for-tests", "tags": ""}],
    "permissions": [{"user": "tests", "vhost": "airfleet", "configure": ".*", "write": ".*", "read": ".*"}],
    "queues": [
        {
            "name": "io",
            "vhost": "airfleet",
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-queue-type": "quorum"},
        }
    ],
}
WORKER = """
import os
import time
from pathlib import Path

from celery import Celery
from celery.exceptions import Ignore

from airfleet_provider.executors import consumer
from airfleet_provider.executors.celery_config import make_queue

# Messages of this test are not signed.
consumer.make_verifier, consumer.check = lambda: None, lambda *_: None
app = Celery(broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=1, worker_concurrency=8,
    task_queues=[make_queue("io", "quorum")], task_default_queue="io", task_create_missing_queues=False,
    worker_consumer="airfleet_provider.executors.consumer:Consumer", worker_enable_remote_control=False,
)


@app.task(name="hold", bind=True)
def hold(self, name):
    if self.request.delivery_info.get("redelivered"):
        raise Ignore  # as Airflow does, whose API says that the task runs already
    Path(name).touch()
    while not Path("end").exists():
        time.sleep(0.05)


@app.task(name="pass")
def go_by(name):
    Path(name).touch()
"""


def test_tasks_begin_beside_those_that_run_since_before_the_loss_of_the_broker(tmp_path: Path) -> None:
    """Celery takes all processes of its pool for idle then, and gives new tasks to those that are busy for hours."""
    (tmp_path / "worker.py").write_text(WORKER)
    with serve(json.dumps(DEFINITIONS)) as broker:
        url = f"amqp://tests:only-for-tests@127.0.0.1:{broker.node.ports.amqp}/airfleet"
        words = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-O", "fair", "--without-mingle"]
        with (tmp_path / "log").open("w") as log:
            worker = subprocess.Popen(
                words, cwd=tmp_path, env={**os.environ, "BROKER": url, "C_FORCE_ROOT": "1"}, stdout=log, stderr=log
            )

        def is_there(*names: str) -> None:
            wait_until(lambda: all((tmp_path / one).exists() for one in names), str(names), seen=log_text)

        def log_text() -> str:
            return (tmp_path / "log").read_text()

        app = Celery(broker=url)
        app.conf.update(task_queues=[make_queue("io", "quorum")], task_default_queue="io")
        try:
            busy = [f"busy{number}" for number in range(7)]  # of eight processes
            for name in busy:
                app.send_task("hold", (name,), queue="io", ignore_result=True)
            is_there(*busy)
            broker.control("close_all_connections", "--global", "test")
            names = [f"task{number}" for number in range(6)]
            for name in names:
                app.send_task("pass", (name,), queue="io", ignore_result=True)
            is_there(*names)
            assert not (tmp_path / "end").exists()
        finally:
            (tmp_path / "end").touch()
            worker.terminate()
            worker.wait(PATIENCE_S)
            app.close()
