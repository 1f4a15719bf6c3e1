"""Airflow's scheduler as the work of an agent: prepared early, run for one epoch, and stopped after its epoch."""

from __future__ import annotations

import os
import sys
import time
from functools import cached_property
from typing import Any

from airfleet_provider.compat.calls import scheduler
from airfleet_provider.compat.calls.db_errors import RETRY_S, is_outage
from airfleet_provider.contract import lease_schema
from airfleet_provider.scheduler_ha.db_session import Session
from airfleet_provider.scheduler_ha.lease import SCHEDULER

READ_EPOCH = "SELECT epoch FROM airfleet.lease WHERE name = %s"
BEAT = """
SELECT coalesce(string_agg(id || ' ' || latest_heartbeat, ',' ORDER BY id), '') AS beat FROM job
WHERE job_type = 'SchedulerJob' AND state = 'running'
"""
# With these jobs failed, the new scheduler adopts their tasks in its first loop, without waiting for old heartbeats.
RETIRE = """
UPDATE job SET state = 'failed', end_date = clock_timestamp() WHERE job_type = 'SchedulerJob' AND state = 'running'
"""
# The old scheduler may never have sent a task that it queued shortly before its last heartbeat, or later. That is so
# even if it ended in order, at a restart of its service: it stops between queueing and sending. A task that a later
# scheduler adopted names the job of that scheduler. Without the id of a message, the new scheduler does not adopt the
# task but queues it again, and the task loses no retry. If a worker has the old message after all, its start is
# refused, because that task instance does not exist any more.
REQUEUE = """
UPDATE task_instance SET external_executor_id = NULL, max_tries = max_tries + 1
FROM job
WHERE job.id = queued_by_job_id AND job.job_type = 'SchedulerJob'
    AND task_instance.state = 'queued' AND queued_dttm > job.latest_heartbeat - make_interval(secs => %(recent)s)
"""
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
                cursor.execute(READ_EPOCH, (lease_schema.SCHEDULER,))
                (current,) = cursor.fetchone()
            connection.rollback()
            if current != epoch:
                # Exit instead of raising: code that catches an exception would go on scheduling.
                print(f"airfleet: epoch {epoch} is over, {current} has begun", file=sys.stderr, flush=True)
                os._exit(FENCED_EXIT)

        scheduler.guard_connections(f"{SCHEDULER}{epoch}", check)
        scheduler.run_scheduler()
        return 0

    def retire(self, session: Session) -> None:
        session.run(REQUEUE, recent=RECENT_S)
        session.run(RETIRE)

    def read_beat(self, session: Session) -> str:
        return str(session.run(BEAT)[0]["beat"])
