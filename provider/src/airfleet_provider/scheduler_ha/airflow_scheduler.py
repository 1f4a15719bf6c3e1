"""Airflow's scheduler as the work of an agent: prepared early, run for one epoch, and stopped after its epoch."""

from __future__ import annotations

import os
import sys
import time
from functools import cached_property
from typing import Any

from airfleet_provider.compat.calls import scheduler
from airfleet_provider.compat.calls.db_errors import RETRY_S, is_outage
from airfleet_provider.compat.calls.task_instances import UNSENT
from airfleet_provider.contract import lease_schema
from airfleet_provider.contract.statements import Statements
from airfleet_provider.scheduler_ha.db_session import DbSession
from airfleet_provider.scheduler_ha.lease import SCHEDULER

SQL = Statements(__package__, "airflow_scheduler")

# Seconds; longer than a lease lasts, and longer than a scheduler takes from queueing a task to sending it.
RECENT_S = 20.0
FENCED_EXIT = 75


class AirflowScheduler:
    """The one scheduler that may be active."""

    @cached_property
    def is_local(self) -> bool:
        return scheduler.runs_tasks_itself()

    def prepare(self) -> None:
        while True:
            try:
                return scheduler.prepare_scheduler()
            except Exception as error:
                if not is_outage(error):
                    raise
            time.sleep(RETRY_S)

    def run(self, epoch: int) -> int:
        def check(connection: Any) -> None:  # noqa: ANN401 - a psycopg2 connection, which has no types
            with connection.cursor() as cursor:
                cursor.execute(SQL["read_epoch"], (lease_schema.SCHEDULER,))
                (current,) = cursor.fetchone()
            connection.rollback()
            if current != epoch:
                # Exit instead of raising: code that catches an exception would go on scheduling.
                print(f"airfleet: epoch {epoch} is over, {current} has begun", file=sys.stderr, flush=True)
                os._exit(FENCED_EXIT)

        scheduler.guard_connections(f"{SCHEDULER}{epoch}", check)
        scheduler.run_scheduler()
        return 0

    def retire(self, session: DbSession) -> None:
        session.run(SQL["requeue"], recent=RECENT_S, unsent=UNSENT)
        session.run(SQL["restore"], unsent=UNSENT)
        session.run(SQL["retire"])

    def read_beat(self, session: DbSession) -> str:
        return str(session.run(SQL["beat"])[0]["beat"])
