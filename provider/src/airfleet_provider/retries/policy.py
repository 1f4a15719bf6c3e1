"""Airflow's cluster policy that puts tasks under the rules of retries, when their Dag file is loaded."""

from __future__ import annotations

from airflow.policies import hookimpl

from airfleet_provider.compat.calls import config, task_process
from airfleet_provider.compat.patches.retry_rules import decide_retries
from airfleet_provider.contract import retry_rules
from airfleet_provider.retries.decisions import Decisions


@hookimpl  # type: ignore[untyped-decorator]
def task_policy(task: object) -> None:
    """Let the rules decide for the tasks of this process, if it runs tasks. It changes nothing in the task itself."""
    text = config.read_rules(retry_rules.SECTION, retry_rules.KEY)
    if text and task_process.is_task():
        decide_retries(Decisions(retry_rules.parse(text)).decide)
