"""Skip tasks of a Dag run that cannot be ready, so that Airflow does not check its rules with a query for each.

tests/local/test_scheduling.py compares runs of Dags with every trigger rule, with and without this patch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Digest

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def list_rules() -> Sequence[Any]:
    """Return all functions with which the scheduler decides whether a task may run."""
    from airflow.models.dagrun import DagRun
    from airflow.serialization.definitions import baseoperator
    from airflow.task.trigger_rule import TriggerRule
    from airflow.ti_deps.deps import base_ti_dep

    rules = sorted(baseoperator.DEFAULT_OPERATOR_DEPS, key=lambda rule: type(rule).__name__)
    parts: list[Any] = [type(rule) for rule in rules]
    return [*parts, TriggerRule, base_ti_dep, DagRun._get_ready_tis]


def pass_over_waiting(tell: Callable[[str], None]) -> bool:
    """Check the rules only for tasks with an upstream task that has ended. Only the rule `always` starts other tasks.

    Return whether the patch is applied. If it is not, `tell` is called with the reason.
    """
    return apply(PATCH, tell=tell) is None


def _make(ask: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(ask)
    def get_ready(self: Any, schedulable_tis: list[Any], finished_tis: list[Any], session: Any) -> Any:  # noqa: ANN401
        asked = schedulable_tis
        if not any(task.is_setup or task.is_teardown for task in self.get_dag().task_dict.values()):
            done = {ti.task_id for ti in finished_tis}
            asked = [ti for ti in schedulable_tis if not is_waiting(ti, done)]
        return ask(self, asked, finished_tis, session=session)

    return (get_ready,)


def is_waiting(ti: Any, done: Collection[str]) -> bool:  # noqa: ANN401 - a task instance with its task
    """Return whether no direct upstream task has ended. For mapped tasks, Airflow must decide."""
    from airflow.serialization.definitions.mappedoperator import is_mapped

    task = ti.task
    before = task.upstream_task_ids
    if not before or not before.isdisjoint(done) or task.trigger_rule == "always" or ti.map_index >= 0:
        return False
    return not is_mapped(task) and next(task.iter_mapped_task_groups(), None) is None


_READY = "airflow.models.dagrun:DagRun._get_ready_tis"
RULES = Digest(
    "the rules by which tasks become ready",
    list_rules,
    "edf29512288e825a3b815db1f0a5c19d6e5afa9aa5e9c21baca14e999e9ba3d1",
)
PATCH = Patch(
    name="ready-filter",
    targets=(_READY,),
    requires=(
        Accepts(_READY, ("self", "schedulable_tis", "finished_tis"), ("session",)),
        RULES,
    ),
    make=_make,
    without="the scheduler checks every rule for every task, as in stock Airflow",
    processes="the scheduler",
)
