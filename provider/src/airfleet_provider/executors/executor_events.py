"""Ignores what an executor reports of a task that is about to run again."""

from __future__ import annotations

from typing import Any


class KnowsScheduled:
    """A mix-in for executors: reports about a task in state `scheduled` are about an earlier start of it.

    Airflow itself ignores these reports for a deferred task that resumes. But it would assume that a rescheduled task
    was killed, and fail it.
    """

    def has_task(self, task_instance: Any) -> bool:  # noqa: ANN401 - airflow.models.TaskInstance
        """Return whether this executor has the task, or will receive it."""
        return task_instance.state == "scheduled" or bool(super().has_task(task_instance))  # type: ignore[misc]
