"""Airflow's LocalExecutor, with a pool of zygotes below it."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

from airflow.executors import local_executor

from airfleet_provider.breakers import gate
from airfleet_provider.compat.calls import config, task_client
from airfleet_provider.compat.patches import local_workers, outages
from airfleet_provider.executors.executor_events import KnowsScheduled
from airfleet_provider.liveness.task_liveness import TaskLiveness
from airfleet_provider.processes import heap
from airfleet_provider.processes.fd_messages import CHANNEL_VARIABLE
from airfleet_provider.scheduler_wakeup import wakeup
from airfleet_provider.task_runtime.eviction import ZygoteLimits
from airfleet_provider.task_runtime.guard import Guard

# A supervisor reports within this time after its task was deferred; if it does not, it was killed.
REPORT_S = 10.0


class LocalExecutor(KnowsScheduled, local_executor.LocalExecutor):  # type: ignore[misc]
    """Runs tasks on this machine, each forked from a warm process.

    Airflow's own LocalExecutor forgets a task as soon as a worker has it. If the trigger of a deferred task then fires
    before the worker has reported, the scheduler assumes that the task was killed, and fails it. This executor
    remembers the task, and starts it again after the report.
    """

    def start(self) -> None:
        """Start the zygote pool first, so that all supervisors inherit the channel to it; then start the executor."""
        outages.outlast_outages(TaskLiveness(config.read_api_urls(), config.read_heartbeat_timeout()))
        self.handed: set[Any] = set()
        self.waiting: dict[Any, float] = {}
        self.is_prepared = False
        self.guard = Guard.start(ZygoteLimits())
        os.environ[CHANNEL_VARIABLE] = str(self.guard.channel)
        local_workers.end_with_scheduler()
        super().start()
        wakeup.start()
        gate.start()

    def has_task(self, task_instance: Any) -> bool:  # noqa: ANN401 - airflow.models.TaskInstance
        """Return whether this executor will report on the task."""
        return super().has_task(task_instance) or task_instance.key in self.handed

    def trigger_tasks(self, open_slots: int) -> None:
        """Start queued tasks; hold a task back for up to `REPORT_S` while its last start has not been reported."""
        self.sync()
        now = time.monotonic()
        self.waiting = {key: self.waiting.get(key, now) for key in self.queued_tasks if key in self.handed}
        held = {key: self.queued_tasks.pop(key) for key, since in self.waiting.items() if now - since < REPORT_S}
        super().trigger_tasks(open_slots)
        self.queued_tasks.update(held)

    def sync(self) -> None:
        """Read the reports of the workers, and start the guard again if it was killed."""
        super().sync()
        self.guard.revive()

    def change_state(self, key: Any, state: Any, info: Any = None, remove_running: bool = True) -> None:  # noqa: ANN401
        """Record the new state of a workload."""
        if remove_running:
            self.handed.discard(key)
        super().change_state(key, state, info, remove_running=remove_running)

    def _spawn_workers_with_gc_freeze(self, spawn_number: int) -> None:
        """Fork workers, and leave all that exists by now out of garbage collection.

        Airflow ends this after the fork. Then the next full collection writes to every object, and so copies all memory
        that the scheduler shares with its workers and with the process from which it was forked.

        The successor of a worker that was killed finds this done. If this was done again, the scheduler would grow with
        each such worker: no later collection would examine what it has at that moment, and no object fit into its gaps.
        """
        if self.is_prepared:
            for _ in range(spawn_number):
                self._spawn_worker()
            return
        self.is_prepared = True
        task_client.keep_parts()
        heap.prepare_forks()
        super()._spawn_workers_with_gc_freeze(spawn_number)
        gc.freeze()

    def _process_workloads(self, workload_list: list[Any]) -> None:
        super()._process_workloads(workload_list)
        self.handed.update(workload.key for workload in workload_list)
