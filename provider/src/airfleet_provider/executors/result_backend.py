"""Celery's results in a database that may be away for a while, as rows of two texts that need no decoding."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery import states
from celery.backends.database import DatabaseBackend, retry, session_cleanup
from sqlalchemy import Text, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from airfleet_provider.compat.calls.db_errors import is_outage
from airfleet_provider.contract.result_schema import REFUSED

# A server that changes its role refuses to write for a moment.
REFUSED_S = 60.0
FINAL = states.READY_STATES | {REFUSED}
INSERT = "INSERT INTO airfleet.task_result (task_id, status) VALUES (%s, %s) ON CONFLICT DO NOTHING"
DELETE = "DELETE FROM airfleet.task_result WHERE ended_at < now() - make_interval(secs => :kept_s)"
log = logging.getLogger(__name__)


class Base(DeclarativeBase):
    """Of tables that airfleet makes, and Celery therefore does not."""


class TaskResult(Base):
    """What became of a message: two texts. Airflow's executor reads whole rows, so there is nothing else in one."""

    __tablename__ = "task_result"
    __table_args__ = {"schema": "airfleet"}  # noqa: RUF012 - SQLAlchemy wants a dict

    task_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text)

    def to_dict(self) -> dict[str, Any]:
        """As Celery's own; a result and a traceback stay where they came to be."""
        return describe(self.task_id, self.status)

    @classmethod
    def configure(cls, schema: str | None = None, name: str | None = None) -> None:
        """Celery would move the table."""


def describe(task_id: str, status: str) -> dict[str, Any]:
    """What Celery calls the meta-data of a task."""
    return {"task_id": task_id, "status": status, "result": None, "traceback": None, "children": []}


class PatientBackend(DatabaseBackend):  # type: ignore[misc]
    """Tries again for as long as the database is away: a result that is lost would hold its slot for long.

    A statement that the database refuses is tried for a minute. It then fails in the log of the worker, and the
    scheduler learns from the task itself that it has ended.
    """

    taskset_cls = TaskResult

    def __init__(self, *args: Any, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.task_cls = TaskResult  # whatever `result_extended` says
        self.session_manager.prepared = True
        self.clock = clock
        self.refused_since: float | None = None
        self.refused_last = 0.0

    def _create_tables(self) -> None:
        """The table is there, and no client may make one."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether it may go better later."""
        if is_outage(exc):
            self.refused_since = None
            return True
        if not isinstance(exc, DBAPIError):
            return False
        now = self.clock()
        # Celery tries again every few seconds: what was refused long before this has nothing to do with it.
        if self.refused_since is None or now - self.refused_last > REFUSED_S:
            self.refused_since = now
        self.refused_last = now
        if now - self.refused_since < REFUSED_S:
            return True
        log.error("The database refuses the results of this worker, so its slots are free later: %s", exc.orig)
        return False

    def _store_result(
        self,
        task_id: str,
        result: Any,  # noqa: ANN401 - what a Celery task returned
        state: str,
        *_: Any,  # noqa: ANN401
        **__: Any,  # noqa: ANN401 - the traceback, Celery's context, and what a later Celery may add
    ) -> None:
        """Store in one statement that the task has ended; the first result of a message counts."""
        if state not in FINAL:
            return
        session = self.ResultSession()
        with session_cleanup(session):
            session.connection().exec_driver_sql(INSERT, (task_id, state))
            session.commit()
        self.refused_since = None

    @retry  # type: ignore[untyped-decorator]
    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        session = self.ResultSession()
        with session_cleanup(session):
            found = session.scalar(select(TaskResult.status).where(TaskResult.task_id == task_id))
        return describe(task_id, found or states.PENDING)

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """Celery would import what a row names as the exception of a task that failed."""
        return meta

    def remove_old(self, kept_s: float) -> None:
        """Remove what was written so long ago by the database's clock; the scheduler may."""
        session = self.ResultSession()
        with session_cleanup(session):
            session.execute(text(DELETE), {"kept_s": kept_s})
            session.commit()

    def _refuse(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError("airfleet keeps no results of groups, and forgets old results itself")

    _save_group = _restore_group = _delete_group = _forget = cleanup = _refuse
