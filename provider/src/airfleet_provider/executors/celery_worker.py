"""Celery workers import this module: it starts the zygote pool, keeps connections open and adds the drain."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from typing import Any, NoReturn

from celery import current_app
from celery.signals import worker_init, worker_process_init, worker_ready

from airfleet_provider.compat.calls import celery_processes, config, task_client
from airfleet_provider.compat.calls.celery_publishing import notice_dead_brokers
from airfleet_provider.compat.calls.celery_results import keep_result_connections
from airfleet_provider.compat.patches import cold_start, supervisor_parts
from airfleet_provider.contract import environment, task_limits
from airfleet_provider.executors.worker_drain import WorkerDrain
from airfleet_provider.processes import heap, lifecycle, oom_priority, task_group
from airfleet_provider.processes.fd_messages import CHANNEL_VARIABLE
from airfleet_provider.task_runtime.eviction import ZygoteLimits
from airfleet_provider.task_runtime.guard import RESTART_S, Guard

log = logging.getLogger(__name__)


@worker_init.connect  # type: ignore[untyped-decorator]
def start_keeper(**_: object) -> None:
    """Start the zygote pool before Celery forks its processes, so that all of them inherit the channel to it."""
    # The worker holds the tokens of all tasks that it has taken, and tasks run as its user (ADR 94).
    lifecycle.hide_memory()
    # The worker's logging owns sys.stdout's buffer, and a task that sets up its own logging would close it.
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - the descriptor, for good
    if environment.DELEGATED in os.environ:
        rules = task_limits.parse(config.read_setting(task_limits.SECTION, task_limits.KEY))
        weighs_cpu = any(rule.limits.weighs_cpu for rule in rules)
        limits_disk = any(rule.limits.disk_rate is not None for rule in rules)
        if not task_group.prepare(weighs_cpu=weighs_cpu, limits_disk=limits_disk):
            log.warning("systemd has delegated no cgroup with a memory controller: tasks get no cgroups of their own")
    guard = Guard.start(ZygoteLimits())
    # Processes of Celery's pool, and their cold tasks. Many are forked when the worker has tokens already.
    oom_priority.offer_forks(oom_priority.SUPERVISOR)
    os.environ[CHANNEL_VARIABLE] = str(guard.channel)
    # After the fork of the guard, which does not need these modules, and before the forks of Celery's processes, which
    # share their memory.
    cold_start.prepare_supervisors()
    supervisor_parts.share_workloads()
    share_memory()
    threading.Thread(target=keep_guard, args=(guard,), daemon=True, name="airfleet-guard").start()


def share_memory() -> None:
    """Let Celery's processes share the memory of all that exists by now, also those that it forks later.

    Airflow puts everything back into garbage collections when the worker is ready: the next one would copy all memory
    that the worker shares with other processes. So the receiver is connected late, and comes after Airflow's.
    """
    task_client.keep_parts()
    celery_processes.keep_parts()
    heap.prepare_forks()
    worker_ready.connect(leave_out_of_collections)


def leave_out_of_collections(**_: object) -> None:
    """Leave all that exists by now out of garbage collections."""
    gc.freeze()


def keep_guard(guard: Guard) -> NoReturn:
    """Start the guard again whenever it has ended, for as long as the worker lives."""
    while True:
        guard.wait()
        time.sleep(RESTART_S)
        guard.revive()


@worker_init.connect  # type: ignore[untyped-decorator]
def obey_drains(sender: Any, **_: object) -> None:  # noqa: ANN401 - a Celery worker
    """Add the drain to the worker's consumer, before Celery creates the consumer."""
    sender.app.steps["consumer"].add(WorkerDrain)


@worker_init.connect  # type: ignore[untyped-decorator]
def notice_a_dead_broker(sender: Any, **_: object) -> None:  # noqa: ANN401 - a Celery worker
    """Let the worker notice a dead broker; set up before the worker connects."""
    notice_dead_brokers(sender.app)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def keep_connections(**_: object) -> None:
    """Let each process of Celery's pool keep one connection for its results."""
    keep_result_connections(current_app)
