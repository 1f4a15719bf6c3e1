"""Ignores what an executor reports of a task that is about to run again."""

from __future__ import annotations

from typing import Any


class KnowsScheduled:
    """For an executor: a task that is scheduled has not been handed to it yet, so no report is about that start.

    Airflow knows this of a deferred task that resumes. One that was rescheduled it would take for killed, and fail.
    """

    def has_task(self, task_instance: Any) -> bool:  # noqa: ANN401 - airflow.models.TaskInstance
        """Whether this executor has the task, or will be given it."""
        return task_instance.state == "scheduled" or bool(super().has_task(task_instance))  # type: ignore[misc]
