"""A Celery worker and its processes share their memory, also after the worker has become ready."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deadline import COMMAND_S

CODE = """
import gc
from airflow.providers.celery.executors import celery_executor_utils
from celery.signals import worker_ready
from airfleet_provider.executors import celery_worker

gc.collect()
celery_worker.share_memory()
shared = gc.get_freeze_count()
worker_ready.send(sender=None)
print(shared, gc.get_freeze_count())
"""


def test_what_a_worker_has_stays_out_of_collections_when_it_is_ready(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
    )
    shared, left = map(int, done.stdout.splitlines()[-1].split())
    assert left >= shared > 100_000
