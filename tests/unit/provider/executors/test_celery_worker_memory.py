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

# What a process of the pool does first, after what its worker did.
POOL = """
import sys
from airfleet_provider.compat.calls import celery_processes

celery_processes.import_commands()
flower = sorted(name for name in sys.modules if name.partition(".")[0] in ("flower", "tornado"))
celery_processes.keep_parts()
made = set(sys.modules)
from celery.platforms import set_pdeathsig

set_pdeathsig("SIGKILL")
print([flower, sorted(set(sys.modules) - made)])
"""


def run(code: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
    )
    return done.stdout.splitlines()[-1]


def test_a_process_of_the_pool_imports_nothing_to_end_with_its_worker_and_no_worker_has_flower(tmp_path: Path) -> None:
    assert run(POOL, tmp_path) == "[[], []]"


def test_what_a_worker_has_stays_out_of_collections_when_it_is_ready(tmp_path: Path) -> None:
    shared, left = map(int, run(CODE, tmp_path).split())
    assert left >= shared > 100_000
