"""Airflow's LocalExecutor, with a keeper of warm processes below it."""

from __future__ import annotations

import os

from airflow.executors import local_executor

from airfleet_provider.runtime import keeper
from airfleet_provider.runtime.coordinator import CHANNEL_VARIABLE
from airfleet_provider.runtime.limits import Limits


class LocalExecutor(local_executor.LocalExecutor):  # type: ignore[misc]
    """Runs tasks on this machine, each forked from a process that is warm already."""

    def start(self) -> None:
        """Start the keeper first, so that all supervisors inherit the way to it."""
        os.environ[CHANNEL_VARIABLE] = str(keeper.start(Limits()))
        super().start()
