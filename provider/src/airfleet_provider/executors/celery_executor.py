"""Airflow's CeleryExecutor, for a scheduler that waits for news in place of looking once a second."""

from __future__ import annotations

from airflow.providers.celery.executors import celery_executor

from airfleet_provider.compat.celery import keep_result_connections
from airfleet_provider.scheduling import waker


class CeleryExecutor(celery_executor.CeleryExecutor):  # type: ignore[misc]
    """Hands tasks to workers over a broker."""

    def start(self) -> None:
        """Be ready for tasks, and wait for work by event."""
        super().start()
        keep_result_connections(self.celery_app)
        waker.start()
