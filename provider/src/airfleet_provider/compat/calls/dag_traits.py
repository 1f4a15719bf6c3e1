"""What of a serialised Dag decides when its tasks may start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


@dataclass(frozen=True, slots=True)
class TaskTraits:
    """What of a task decides when it may start."""

    # The ids of the tasks directly before it.
    before: frozenset[str]
    # It is ready when all tasks before it succeeded. Neither it nor one of them has several instances.
    is_plain: bool
    # It has one instance in a run, whatever the run's data.
    is_single: bool
    # It cannot become ready, skipped or failed before a task before it has ended.
    can_wait: bool


@dataclass(frozen=True, slots=True)
class DagTraits:
    """The tasks of a Dag by their ids, and how long a run may take."""

    tasks: Mapping[str, TaskTraits]
    timeout: timedelta | None


def read_traits(dag: Any) -> DagTraits:  # noqa: ANN401 - airflow's SerializedDAG
    """Return the traits of a Dag. In a Dag with setups or teardowns no task is plain, and none can wait."""
    tasks = dag.task_dict
    has_setups = any(task.is_setup or task.is_teardown for task in tasks.values())
    return DagTraits(
        {
            name: TaskTraits(
                frozenset(task.upstream_task_ids),
                is_plain=not has_setups and _is_plain(task, [tasks.get(one) for one in task.upstream_task_ids]),
                is_single=_is_single(task),
                can_wait=not has_setups and _can_wait(task),
            )
            for name, task in tasks.items()
        },
        dag.dagrun_timeout,
    )


def _is_plain(task: Any, before: list[Any]) -> bool:  # noqa: ANN401 - operators
    from airflow.models.taskinstance import TaskInstance
    from airflow.serialization.definitions.baseoperator import DEFAULT_OPERATOR_DEPS

    return bool(
        before
        and _is_single(task)
        and all(one is not None and _is_single(one) and not one.inherits_from_skipmixin for one in before)
        and task.trigger_rule == "all_success"
        and task.deps == DEFAULT_OPERATOR_DEPS
        and not task.depends_on_past
        and not task.wait_for_downstream
        and task.max_active_tis_per_dag is None
        and task.max_active_tis_per_dagrun is None
        and task.start_from_trigger is not True
        and TaskInstance.is_task_schedulable(task)
    )


def _can_wait(task: Any) -> bool:  # noqa: ANN401 - an operator
    return bool(task.upstream_task_ids) and task.trigger_rule != "always" and _is_single(task)


def _is_single(task: Any) -> bool:  # noqa: ANN401 - an operator
    from airflow.serialization.definitions.mappedoperator import is_mapped

    return not is_mapped(task) and next(task.iter_mapped_task_groups(), None) is None
