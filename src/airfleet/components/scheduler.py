"""The schedulers. With LocalExecutor, a scheduler is also the parent of every task that it starts."""

from __future__ import annotations

from airfleet.components.health import CandidateCheck, HeartbeatCheck
from airfleet.components.model import Component, File, Process
from airfleet.spec.fleet import Fleet
from airfleet_provider.contract import environment

# Tasks need the last two modules, and are forked from this process.
MODULES = (
    "airflow.jobs.scheduler_job_runner",
    "airfleet_provider.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
)
NAME = "scheduler"
COMMAND = ("airflow", "scheduler", "--skip-serve-logs")  # the api-server reads logs from the same folder


# The modules that a scheduler needs with Celery instead.
CELERY_MODULES = (MODULES[0], "airfleet_provider.executors.celery_executor")
HAND_OVER_S = 10.0


def list_names(fleet: Fleet) -> tuple[str, ...]:
    """Return the names of the scheduler processes on one machine."""
    return (NAME, *(f"{NAME}-{number}" for number in range(2, fleet.schedulers + 1)))


def describe(fleet: Fleet, *, drain_s: float, link: File | None = None) -> Component:
    """Describe the schedulers of one machine. At a stop, tasks that they run themselves have `drain_s` seconds.

    `link` is their Celery file.
    """
    is_local = fleet.executor == "local"
    is_guarded = fleet.schedulers > 1 and fleet.scheduler_mode == "active-standby"
    processes = tuple(
        Process(
            name=name,
            commands=(_guarded(name) if is_guarded else COMMAND,),
            health=CandidateCheck(name) if is_guarded else HeartbeatCheck("SchedulerJob", alone=fleet.schedulers == 1),
            after=("metadata",) if is_local else ("metadata", "rabbitmq"),
            preload=MODULES if is_local else CELERY_MODULES,
            stop_timeout_s=drain_s if is_local else HAND_OVER_S,
            env={environment.CELERY: str(link.path)} if link else {},
        )
        for name in list_names(fleet)
    )
    return Component(name=NAME, processes=processes, files=(link,) if link else ())


def describe_on_host(fleet: Fleet, host: str) -> Component:
    """Describe the scheduler of a host, which sends tasks to worker hosts.

    With several scheduler hosts, one scheduler is active and the others stand by.
    """
    is_guarded = len(fleet.with_role("scheduler")) > 1 and fleet.scheduler_mode == "active-standby"
    process = Process(
        name=NAME,
        commands=(_guarded(host) if is_guarded else COMMAND,),
        health=CandidateCheck(host) if is_guarded else HeartbeatCheck("SchedulerJob", alone=False),
        after=("metadata",),
        preload=CELERY_MODULES,
        stop_timeout_s=HAND_OVER_S,
    )
    return Component(name=NAME, processes=(process,))


def _guarded(seat: str) -> tuple[str, ...]:
    return ("airflow", "airfleet", "scheduler", "--seat", seat)
