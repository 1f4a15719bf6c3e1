"""Airflow's scheduler leaves tasks in the state `scheduled`, as if they were not there when it queues tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Counts

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


@dataclass(frozen=True, slots=True)
class Held:
    """All instances of these tasks, but for those with these ids. A task is the id of its Dag and its own."""

    tasks: frozenset[tuple[str, str]]
    exempt: frozenset[str] = frozenset()


# Returns what to hold now.
FindHeld = Callable[[], Collection[Held]]


class HoldingSession:
    """A session whose query for task instances to queue does not find those that are held."""

    def __init__(self, session: Any, held: Collection[Held]) -> None:  # noqa: ANN401 - Airflow's own
        self._session, self._held = session, held

    def scalars(self, query: Any, *words: Any, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
        return self._session.scalars(query.options(*map(_leave_out, self._held)), *words, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a session has
        return getattr(self._session, name)


def _leave_out(held: Held) -> Any:  # noqa: ANN401 - an option of SQLAlchemy
    """Return an option that hides these task instances in a query and all of its subqueries.

    Airflow ranks the task instances of a run in a subquery, and takes the first ones. So those that are held must not
    be ranked, or they would keep others of their run from running.

    PostgreSQL makes a list of pairs one comparison for each pair, and compares each row with all of them. The rows of a
    subquery become a hash table.
    """
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import ARRAY, Text, cast, func, or_, select, tuple_
    from sqlalchemy.orm import with_loader_criteria

    arrays = [cast(list(names), ARRAY(Text)) for names in zip(*sorted(held.tasks), strict=True)]
    pairs = func.unnest(*arrays).table_valued("dag_id", "task_id", name="held").render_derived()

    shown = or_(
        TaskInstance.state != "scheduled",
        tuple_(TaskInstance.dag_id, TaskInstance.task_id).not_in(select(pairs.c.dag_id, pairs.c.task_id)),
        TaskInstance.id.in_(sorted(held.exempt)),
    )
    return with_loader_criteria(TaskInstance, shown)


def hold_tasks(find_held: FindHeld) -> None:
    """Leave tasks as they are that `find_held` returns. It is called before tasks are queued, and must be cheap."""
    apply(PATCH, find_held)


def _make(queue: Any, find_held: FindHeld) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(queue)
    def find_executable(self: Any, max_tis: int, session: Any) -> Any:  # noqa: ANN401 - Airflow's own
        held = [one for one in find_held() if one.tasks]
        return queue(self, max_tis, session=HoldingSession(session, held) if held else session)

    return (find_executable,)


_QUEUE = "airflow.jobs.scheduler_job_runner:SchedulerJobRunner._executable_task_instances_to_queued"
PATCH = Patch(
    name="held-tasks",
    targets=(_QUEUE,),
    requires=(
        Accepts(_QUEUE, ("self", "max_tis"), ("session",)),
        # The only query of its kind is that for the task instances to queue.
        Counts(_QUEUE, "session.scalars(", 1),
    ),
    make=_make,
    without="tasks start although the breaker of their service is open or its limit reached, find that, and then wait",
    processes="the scheduler, where fleet.yaml has breakers or limits",
)
