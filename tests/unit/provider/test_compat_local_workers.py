"""Workers of a LocalExecutor end with their scheduler, also with one that is killed while they wait."""

from __future__ import annotations

import inspect
import subprocess
import sys

import psutil
from airflow.executors.local_executor import LocalExecutor

from deadline import wait_until

SCHEDULER = """
import multiprocessing, os, signal, time
from airflow.executors import local_executor
from airfleet_provider.compat import local_workers
local_executor._run_worker = lambda said: said.send(os.getpid()) or time.sleep(600)
local_workers.end_with_scheduler()
local_workers.end_with_scheduler()
told, said = multiprocessing.Pipe()
multiprocessing.Process(target=local_executor._run_worker, kwargs={"said": said}).start()
print(told.recv(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_a_scheduler_that_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", SCHEDULER], capture_output=True, text=True, check=False, timeout=60)
    worker = int(done.stdout)
    wait_until(lambda: not is_alive(worker), "the end of the worker")


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_are_started_by_the_name_that_is_replaced() -> None:
    source = inspect.getsource(LocalExecutor._spawn_worker)
    assert "target=_run_worker" in source
    assert "kwargs=" in source
