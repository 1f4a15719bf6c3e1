"""Workers of a LocalExecutor end with their scheduler, also with one that is killed while they wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

import psutil
from airflow.executors import local_executor

from airfleet_provider.compat.patches import local_workers
from deadline import wait_until


def schedule(said: Connection) -> None:
    """Be a scheduler whose worker says which process it is and then waits for work."""

    def run_worker(said: Connection) -> None:
        said.send(os.getpid())
        signal.pause()

    local_executor._run_worker = run_worker
    local_workers.end_with_scheduler()
    local_workers.end_with_scheduler()
    multiprocessing.Process(target=local_executor._run_worker, kwargs={"said": said}).start()
    signal.pause()


def test_a_worker_ends_with_a_scheduler_that_is_killed() -> None:
    told, said = multiprocessing.Pipe()
    scheduler = os.fork()
    if scheduler == 0:
        try:
            signal.alarm(60)
            schedule(said)
        finally:
            os._exit(1)
    said.close()
    worker = told.recv()
    assert is_alive(worker)
    os.kill(scheduler, signal.SIGKILL)
    os.waitpid(scheduler, 0)
    wait_until(lambda: not is_alive(worker), "the end of the worker")


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
