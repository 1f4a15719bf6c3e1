"""Airflow's CeleryExecutor, which waits for a broker that is away, in a scheduler that outlasts outages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.celery.executors import celery_executor

from airfleet_provider.compat import publishing
from airfleet_provider.compat import survival as compat
from airfleet_provider.compat.celery import keep_result_connections
from airfleet_provider.executors.reports import KnowsScheduled
from airfleet_provider.scheduling import waker
from airfleet_provider.survival.pulse import Pulse
from airfleet_provider.survival.watch import Watch


class CeleryExecutor(KnowsScheduled, celery_executor.CeleryExecutor):  # type: ignore[misc]
    """Hands tasks to Celery; what cannot be sent now is sent later."""

    has_read = False

    def start(self) -> None:
        """Runs in the scheduler, before its loop begins, which from then on waits for work by event."""
        watch = Watch(compat.read_api_urls(), compat.read_heartbeat_timeout(), pulse=Pulse(compat.read_log_port()))
        compat.outlast_outages(watch)
        super().start()
        keep_result_connections(self.celery_app)
        self.set_up_publishing()
        waker.start(self.has_store)

    def set_up_publishing(self) -> None:
        """Before the first task is sent: no state of a broker or of the way to it stops this process for good."""
        self.publisher = publishing.find_publishing_app(self.team_name)
        publishing.close_abruptly(self.publisher)
        for app in (self.celery_app, self.publisher):
            publishing.notice_dead_brokers(app)

    def has_store(self) -> bool:
        """Whether tasks wait at the workers: airfleet lets four times as many be sent as there are slots."""
        return bool(self.slots_available <= self.parallelism // 2)

    def read_results(self) -> None:
        """Read results now, and not once more in this loop: those that come meanwhile are read in the next."""
        super().sync()
        self.has_read = True

    def sync(self) -> None:
        """Read results, unless that was done at the beginning of the loop."""
        if self.has_read:
            self.has_read = False
        else:
            super().sync()

    def _process_workloads(self, workload_list: list[Any]) -> None:
        super()._process_workloads(workload_list)
        for task in (workload.ti for workload in workload_list if hasattr(workload, "ti")):
            # The scheduler wrote this id when it queued the task, and would load and lock it to write it again.
            if self.event_buffer.get(task.key) == ("queued", task.external_executor_id):
                del self.event_buffer[task.key]

    def _send_workloads_to_celery(self, workload_tuples_to_send: Sequence[Any]) -> list[Any]:
        return compat.send_until_refused(
            super()._send_workloads_to_celery,
            workload_tuples_to_send,
            lambda: publishing.discard_connections(self.publisher),
        )
