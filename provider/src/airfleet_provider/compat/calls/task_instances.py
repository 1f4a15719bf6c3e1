"""The queries and updates of task instances by the executor."""

from __future__ import annotations

from collections.abc import Collection

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# Begins the id of the message of a task that is queued, and whose message the broker has not taken yet.
UNSENT = "unsent "


def list_awaited(ids: Collection[str]) -> set[str]:
    """Return the Celery ids whose task instances are queued or with a worker."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    states = (TaskInstanceState.QUEUED, TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)
    own = (TaskInstance.state.in_(states), TaskInstance.external_executor_id.is_not(None))
    with create_session(scoped=False) as session:
        found = session.scalars(select(TaskInstance.external_executor_id).where(*own))
        return {one for one in found if one in ids}


def send_again(ids: Collection[str]) -> set[str]:
    """Let the scheduler queue again the task instances that still wait for a worker.

    Return the ids of rows that are locked, perhaps by the scheduler itself. They must be tried again later.
    """
    from airflow._shared.timezones import timezone
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select, update

    own = (TaskInstance.state == TaskInstanceState.QUEUED, TaskInstance.external_executor_id.in_(list(ids)))
    free = select(TaskInstance.id).where(*own).with_for_update(skip_locked=True)
    values = {
        "state": TaskInstanceState.SCHEDULED,
        "queued_dttm": None,
        "queued_by_job_id": None,
        "scheduled_dttm": timezone.utcnow(),
    }
    if not ids:
        return set()
    with create_session(scoped=False) as session:
        session.execute(
            update(TaskInstance)
            .where(TaskInstance.id.in_(free.scalar_subquery()))
            .values(values)
            .execution_options(synchronize_session=False)
        )
        return {one for one in session.scalars(select(TaskInstance.external_executor_id).where(*own)) if one}


def note_unsent(unsent: Collection[str], sent: Collection[str]) -> None:
    """Mark the ids of messages that the broker has not taken, and remove the mark from those that it has."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import func, update

    column = TaskInstance.external_executor_id
    states = (TaskInstanceState.QUEUED, TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)
    changes = (
        ((TaskInstanceState.QUEUED,), list(unsent), UNSENT + column),
        # A worker may have started the task already.
        (states, [UNSENT + one for one in sent], func.substr(column, len(UNSENT) + 1)),
    )
    with create_session(scoped=False) as session:
        for allowed, ids, value in changes:
            session.execute(
                update(TaskInstance)
                .where(TaskInstance.state.in_(allowed), column.in_(ids))
                .values(external_executor_id=value)
                .execution_options(synchronize_session=False)
            )
