"""Airflow's cluster policy that puts tasks under the rules of breakers, when their Dag file is loaded."""

from __future__ import annotations

from airflow.policies import hookimpl

from airfleet_provider.breakers.guard import BreakerGuard
from airfleet_provider.compat.calls import config, task_process
from airfleet_provider.compat.patches.task_guard import guard_tasks
from airfleet_provider.contract import breaker_rules, service_limits


@hookimpl  # type: ignore[untyped-decorator]
def task_policy(task: object) -> None:
    """Guard the tasks of this process, if it runs tasks and there are rules. It changes nothing in the task itself."""
    text = config.read_rules(breaker_rules.SECTION, breaker_rules.KEY)
    limits = config.read_rules(service_limits.SECTION, service_limits.KEY)
    if (text or limits) and task_process.is_task():
        guard_tasks(BreakerGuard(breaker_rules.parse(text), limits=service_limits.parse(limits)).execute)
