"""Celery's private names around results; tests/unit/provider/test_compat_celery.py holds it to them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql import insert


def keep_result_connections(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Let this process keep its connection to the result database; Celery makes an engine and one for each result.

    It keeps them only in processes that it knows to be forked, and a worker's make their backend after the fork.
    """
    manager = getattr(app.backend, "session_manager", None)
    if manager is not None:
        manager.forked = True


def compile_result(table: Any, dialect: Any) -> Any:  # noqa: ANN401 - a table, a dialect, a compiled statement
    """The one statement that leaves a result in PostgreSQL, whether or not there is one of the same task.

    SQLAlchemy keeps no compiled text of an INSERT of this kind, and to compile it takes longer than to execute it.
    """
    names = [column.name for column in table.columns if column.name not in ("id", "task_id")]
    statement = insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=["task_id"], set_={name: statement.excluded[name] for name in names}
    )
    return statement.compile(dialect=dialect, column_keys=["task_id", *names])
