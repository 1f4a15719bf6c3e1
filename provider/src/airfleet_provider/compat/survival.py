"""What Airflow's scheduler and Celery executor keep to themselves about outages, and how they outlast them."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

log = logging.getLogger(__name__)

RETRY_S = 1.0


def outlast_outages(may_judge: Callable[[], bool]) -> None:
    """Let the scheduler of this process go on after its database was away, and call no task dead before it may."""
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from sqlalchemy.exc import DBAPIError, PendingRollbackError

    loop = SchedulerJobRunner._run_scheduler_loop
    purge = SchedulerJobRunner._find_and_purge_task_instances_without_heartbeats

    @functools.wraps(loop)
    def run(self: Any) -> None:  # noqa: ANN401 - a SchedulerJobRunner
        while True:
            try:
                loop(self)
            except (DBAPIError, PendingRollbackError) as error:
                if not is_outage(error):
                    raise
                log.warning("the database does not answer, the scheduler waits for it: %s", str(error).splitlines()[0])
                time.sleep(RETRY_S)
            else:
                return

    @functools.wraps(purge)
    def judge(self: Any) -> None:  # noqa: ANN401 - a SchedulerJobRunner
        if may_judge():
            purge(self)

    SchedulerJobRunner._run_scheduler_loop = run
    SchedulerJobRunner._find_and_purge_task_instances_without_heartbeats = judge


def is_outage(error: Exception) -> bool:
    """Whether the connection broke, or could not be made: not what a statement itself did wrong."""
    from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError

    if isinstance(error, PendingRollbackError):
        return True
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def read_heartbeat_timeout() -> float:
    """How long a task may be silent."""
    from airflow.configuration import conf

    return float(conf.getint("scheduler", "task_instance_heartbeat_timeout"))


def read_api_urls() -> list[str]:
    """Where tasks report: what airfleet says of a fleet, and else what this host's tasks are told."""
    from airflow.configuration import conf
    from airflow.executors.base_executor import get_execution_api_server_url

    return str(conf.get("airfleet", "execution_apis", fallback="")).split() or [str(get_execution_api_server_url())]


def send_until_refused(send: Callable[[Sequence[Any]], list[Any]], workloads: Sequence[Any]) -> list[Any]:
    """Send one after another; once the broker does not answer, the rest is to be tried again later, like the first.

    Airflow tries again what took too long, and fails what a broker that is away refused; both are an outage.
    """
    from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback
    from airflow.sdk.exceptions import AirflowTaskTimeout
    from kombu.exceptions import OperationalError

    done: list[Any] = []
    for workload in workloads:
        (answer,) = send([workload])
        failure = answer[-1].exception if isinstance(answer[-1], ExceptionWithTraceback) else None
        if not isinstance(failure, (AirflowTaskTimeout, OperationalError, ConnectionError)):
            done.append(answer)
            continue
        late = ExceptionWithTraceback(AirflowTaskTimeout("the broker does not answer"), "")
        return [*done, *((*one[:2], late) for one in workloads[len(done) :])]
    return done
