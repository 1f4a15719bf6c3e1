"""What a Celery worker imports: a keeper of warm processes before its pool, connections kept, drains obeyed."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any, NoReturn

from celery import current_app
from celery.signals import worker_init, worker_process_init

from airfleet_provider.compat.calls.celery_publishing import notice_dead_brokers
from airfleet_provider.compat.calls.celery_results import keep_result_connections
from airfleet_provider.compat.patches import cold_start
from airfleet_provider.executors.worker_drain import WorkerDrain
from airfleet_provider.processes import oom_priority
from airfleet_provider.processes.fd_messages import CHANNEL_VARIABLE
from airfleet_provider.task_runtime.eviction import Limits
from airfleet_provider.task_runtime.guard import RESTART_S, Guard


@worker_init.connect  # type: ignore[untyped-decorator]
def start_keeper(**_: object) -> None:
    """All processes of the pool are forked later, and inherit the way to the keeper."""
    # The worker's logging owns sys.stdout's buffer, and a task that sets up its own logging would close it.
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - the descriptor, for good
    guard = Guard.start(Limits())
    os.environ[CHANNEL_VARIABLE] = str(guard.channel)
    # After the fork of the guard, which needs none of it; before those of the pool, which share it.
    cold_start.prepare_supervisors()
    threading.Thread(target=keep_guard, args=(guard,), daemon=True, name="airfleet-guard").start()


def keep_guard(guard: Guard) -> NoReturn:
    """Have a guard for as long as the worker lives."""
    while True:
        guard.wait()
        time.sleep(RESTART_S)
        guard.revive()


@worker_init.connect  # type: ignore[untyped-decorator]
def obey_drains(sender: Any, **_: object) -> None:  # noqa: ANN401 - a Celery worker
    """Before the worker makes what consumes."""
    sender.app.steps["consumer"].add(WorkerDrain)


@worker_init.connect  # type: ignore[untyped-decorator]
def notice_a_dead_broker(sender: Any, **_: object) -> None:  # noqa: ANN401 - a Celery worker
    """Before the worker connects."""
    notice_dead_brokers(sender.app)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def keep_connections(**_: object) -> None:
    """Each process of the pool keeps one connection for its results."""
    keep_result_connections(current_app)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def go_before_the_worker(**_: object) -> None:
    """Each process of the pool, and each task that it starts without a warm process."""
    oom_priority.offer(oom_priority.SUPERVISOR)
