"""What Airflow's scheduler and Celery executor keep to themselves about outages, and how they outlast them."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from airfleet_provider.plain import one_line

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

log = logging.getLogger(__name__)

RETRY_S = 1.0


class Judge(Protocol):
    """Who says which silence of tasks means death."""

    @property
    def asks_hosts(self) -> bool: ...
    def may_judge(self) -> bool: ...
    def find_lost(self, hosts: Collection[str]) -> Collection[str]: ...


def outlast_outages(judge: Judge, lost_s: float) -> None:
    """Let the scheduler of this process go on after its database was away, and call no task dead before it may.

    The tasks of a host that is lost are dead after `lost_s` of silence.
    """
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from sqlalchemy.exc import DBAPIError, PendingRollbackError
    from sqlalchemy.exc import TimeoutError as ExhaustedError

    loop = SchedulerJobRunner._run_scheduler_loop
    purge = SchedulerJobRunner._find_and_purge_task_instances_without_heartbeats

    @functools.wraps(loop)
    def run(self: Any) -> None:  # noqa: ANN401 - a SchedulerJobRunner
        while True:
            try:
                loop(self)
            except (DBAPIError, PendingRollbackError, ExhaustedError) as error:
                if not is_outage(error):
                    raise
                log.warning(
                    "the database does not answer, the scheduler waits for it: %s", one_line(str(error).splitlines()[0])
                )
                time.sleep(RETRY_S)
            else:
                return

    @functools.wraps(purge)
    def purge_dead(self: Any) -> None:  # noqa: ANN401
        if judge.may_judge():
            purge(self)
        if judge.asks_hosts and (lost := judge.find_lost(_list_hosts(self.job.id))):
            log.warning("no answer from %s, whose tasks are dead after %s s of silence", ", ".join(lost), lost_s)
            with _only_of(self, lost, lost_s):
                purge(self)

    SchedulerJobRunner._run_scheduler_loop = run
    SchedulerJobRunner._find_and_purge_task_instances_without_heartbeats = purge_dead


def _list_hosts(job_id: int) -> list[str]:
    """Where the running tasks are that a scheduler queued."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    own = (TaskInstance.state == TaskInstanceState.RUNNING, TaskInstance.queued_by_job_id == job_id)
    with create_session() as session:
        return [host for host in session.scalars(select(TaskInstance.hostname).where(*own).distinct()) if host]


@contextlib.contextmanager
def _only_of(runner: Any, hosts: Collection[str], silent_s: float) -> Iterator[None]:  # noqa: ANN401
    """Let a scheduler find only tasks of these hosts, with another time-out."""
    find, timeout_s = runner._find_task_instances_without_heartbeats, runner._task_instance_heartbeat_timeout_secs
    runner._task_instance_heartbeat_timeout_secs = silent_s
    runner._find_task_instances_without_heartbeats = lambda *, session: [
        one for one in find(session=session) if one.hostname in hosts
    ]
    try:
        yield
    finally:
        del runner._find_task_instances_without_heartbeats
        runner._task_instance_heartbeat_timeout_secs = timeout_s


def is_outage(error: Exception) -> bool:
    """Whether the connection broke, or could not be had: not what a statement itself did wrong."""
    from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
    from sqlalchemy.exc import TimeoutError as ExhaustedError

    if isinstance(error, PendingRollbackError | ExhaustedError):
        return True
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def notice_exhausted_pools(note: Callable[[BaseException], None]) -> None:
    """Call back when a pool has no connection to give: a database that hangs looks so, and SQLAlchemy has no event."""
    from sqlalchemy.exc import TimeoutError as ExhaustedError
    from sqlalchemy.pool import Pool

    original = Pool.connect

    @functools.wraps(original)
    def connect(self: Any) -> Any:  # noqa: ANN401 - a Pool and its connection
        try:
            return original(self)
        except ExhaustedError as error:
            note(error)
            raise

    Pool.connect = connect  # type: ignore[method-assign]


def read_heartbeat_timeout() -> float:
    """How long a task may be silent."""
    from airflow.configuration import conf

    return float(conf.getint("scheduler", "task_instance_heartbeat_timeout"))


def read_log_port() -> int:
    """Where worker hosts serve the logs of their tasks."""
    from airflow.configuration import conf

    return int(conf.getint("logging", "worker_log_server_port"))


def read_api_urls() -> list[str]:
    """Where tasks report: what airfleet says of a fleet, and else what this host's tasks are told."""
    from airflow.configuration import conf
    from airflow.executors.base_executor import get_execution_api_server_url

    return str(conf.get("airfleet", "execution_apis", fallback="")).split() or [str(get_execution_api_server_url())]


def send_until_refused(
    send: Callable[[Sequence[Any]], list[Any]], workloads: Sequence[Any], discard: Callable[[], None]
) -> list[Any]:
    """Send one after another; once the broker does not take one, the rest is to be tried again later, like the first.

    Airflow tries again what took too long, and fails what a broker that is away refused; both are an outage. Nobody
    knows then how far the connection got, so `discard` is called, and the next try makes a new one: at once and a
    single time where a connection may just have ended since its last use.
    """
    from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback
    from airflow.sdk.exceptions import AirflowTaskTimeout

    from airfleet_provider.compat.publishing import is_outage as is_broker_outage

    done: list[Any] = []
    may_try_anew = True
    for workload in workloads:
        while is_broker_outage(failure := _read_failure(answer := send([workload])[0])):
            log.warning("the broker took no task, which is sent again: %s: %s", type(failure).__name__, failure)
            discard()
            if isinstance(failure, AirflowTaskTimeout) or not may_try_anew:
                late = ExceptionWithTraceback(AirflowTaskTimeout("the broker does not answer"), "")
                return [*done, *((*one[:2], late) for one in workloads[len(done) :])]
            may_try_anew = False
        done.append(answer)
    return done


def _read_failure(answer: Sequence[Any]) -> BaseException | None:
    """What went wrong with a workload that was sent, by Airflow's answer."""
    from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback

    return answer[-1].exception if isinstance(answer[-1], ExceptionWithTraceback) else None
