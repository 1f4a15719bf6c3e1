"""Celery's private names around results; tests/unit/provider/test_compat_celery.py holds it to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects.postgresql import insert


def keep_result_connections(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Let this process keep its connection to the result database; Celery makes an engine and one for each result.

    It keeps them only in processes that it knows to be forked, and a worker's make their backend after the fork.
    """
    manager = getattr(app.backend, "session_manager", None)
    if manager is not None:
        manager.forked = True


def write_result(table: Any, task_id: str, meta: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a table, a statement
    """The one statement that leaves a result in PostgreSQL, whether or not there is one of the same task."""
    values = {column.name: meta.get(column.name) for column in table.columns if column.name not in ("id", "task_id")}
    return (
        insert(table).values(task_id=task_id, **values).on_conflict_do_update(index_elements=["task_id"], set_=values)
    )
