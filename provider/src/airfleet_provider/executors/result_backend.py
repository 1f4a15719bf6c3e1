"""Stores Celery's results in PostgreSQL, and waits while the database is down.

A result is a row of two texts, so reading it decodes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery import states
from celery.backends.database import DatabaseBackend, retry, session_cleanup
from sqlalchemy import Connection, Engine, Text, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from airfleet_provider.compat.calls.db_errors import is_outage
from airfleet_provider.contract.result_schema import REFUSED
from airfleet_provider.processes.polling import wait_readable

# A refused statement is repeated for so many seconds: during a failover the server refuses writes for a moment.
REFUSED_S = 60.0
FINAL = states.READY_STATES | {REFUSED}
INSERT = "INSERT INTO airfleet.task_result (task_id, status) VALUES (%s, %s) ON CONFLICT DO NOTHING"
DELETE = "DELETE FROM airfleet.task_result WHERE ended_at < now() - make_interval(secs => :kept_s)"
log = logging.getLogger(__name__)


class Base(DeclarativeBase):
    """The base of tables that airfleet creates; Celery creates only the tables of its own base."""


class TaskResult(Base):
    """The result of a message. Airflow's executor reads whole rows, so a row holds only the two texts it needs."""

    __tablename__ = "task_result"
    __table_args__ = {"schema": "airfleet"}  # noqa: RUF012 - SQLAlchemy wants a dict

    task_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text)

    def to_dict(self) -> dict[str, Any]:
        """Return what Celery's own table returns, but without result and traceback: those stay on the worker."""
        return describe(self.task_id, self.status)

    @classmethod
    def configure(cls, schema: str | None = None, name: str | None = None) -> None:
        """Do nothing: Celery would rename the table or change its schema here."""


def describe(task_id: str, status: str) -> dict[str, Any]:
    """Return what Celery calls the meta-data of a task."""
    return {"task_id": task_id, "status": status, "result": None, "traceback": None, "children": []}


def has_ended(connection: Connection) -> bool:
    """Return whether the server has closed an idle connection, which makes it readable. No statement asks for that."""
    return bool(wait_readable([connection.connection], 0))


class PatientBackend(DatabaseBackend):  # type: ignore[misc]
    """Stores results, and repeats a statement for as long as the database is down.

    A lost result would hold a slot of its executor for long. If the database refuses a statement, it is repeated for
    `REFUSED_S`. Then the worker logs an error, and the scheduler finds the end of the task in Airflow's tables.
    """

    taskset_cls = TaskResult

    def __init__(self, *args: Any, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.task_cls = TaskResult  # for any value of `result_extended`
        self.session_manager.prepared = True
        self.clock = clock
        self.refused_since: float | None = None
        self.refused_last = 0.0
        self.kept: Connection | None = None

    def _create_tables(self) -> None:
        """Do nothing: `airfleet` creates the table, and this login may not create one."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Return whether Celery should repeat the statement: always in an outage, for `REFUSED_S` after a refusal."""
        if is_outage(exc):
            self.refused_since = None
            return True
        if not isinstance(exc, DBAPIError):
            return False
        now = self.clock()
        # Celery repeats a statement every few seconds, so an older refusal belongs to another statement.
        if self.refused_since is None or now - self.refused_last > REFUSED_S:
            self.refused_since = now
        self.refused_last = now
        if now - self.refused_since < REFUSED_S:
            return True
        log.error("The database refuses the results of this worker, so their slots become free later: %s", exc.orig)
        return False

    def _store_result(
        self,
        task_id: str,
        result: Any,  # noqa: ANN401 - what a Celery task returned
        state: str,
        *_: Any,  # noqa: ANN401
        **__: Any,  # noqa: ANN401 - the traceback, Celery's context, and what a later Celery may add
    ) -> None:
        """Store in one statement that the task has ended; keep an earlier result of the same message."""
        if state not in FINAL:
            return
        if self.session_manager.forked:  # this process keeps its connections
            self._store_at_kept(task_id, state)
        else:
            with self._open_engine().connect() as connection:
                connection.exec_driver_sql(INSERT, (task_id, state))
                connection.commit()
        self.refused_since = None

    def _store_at_kept(self, task_id: str, state: str) -> None:
        """Store a result at the connection of this process. Celery repeats what fails: then there is a new one."""
        kept, self.kept = self.kept, None
        if kept is not None and has_ended(kept):
            kept.invalidate()
            kept.close()
            kept = None
        kept = kept or self._open_engine().connect()
        try:
            kept.exec_driver_sql(INSERT, (task_id, state))
            kept.commit()
        except BaseException:
            kept.invalidate()
            kept.close()
            raise
        self.kept = kept

    def _open_engine(self) -> Engine:
        engine: Engine = self.session_manager.get_engine(self.url, **self.engine_options)
        return engine

    @retry  # type: ignore[untyped-decorator]
    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        session = self.ResultSession()
        with session_cleanup(session):
            found = session.scalar(select(TaskResult.status).where(TaskResult.task_id == task_id))
        return describe(task_id, found or states.PENDING)

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """Return the meta-data unchanged: Celery would import a class that a row names as the exception of a task."""
        return meta

    def remove_old(self, kept_s: float) -> None:
        """Remove results older than `kept_s` seconds by the database's clock; only the scheduler's login may do so."""
        session = self.ResultSession()
        with session_cleanup(session):
            session.execute(text(DELETE), {"kept_s": kept_s})
            session.commit()

    def _refuse(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError("airfleet stores no results of groups, and removes old results itself")

    _save_group = _restore_group = _delete_group = _forget = cleanup = _refuse
