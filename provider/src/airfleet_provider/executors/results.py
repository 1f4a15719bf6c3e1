"""Celery's results in a database that may be away for a while."""

from __future__ import annotations

from typing import Any

from celery.backends.database import DatabaseBackend, session_cleanup
from sqlalchemy.exc import DBAPIError

from airfleet_provider.compat.celery import compile_result


class PatientBackend(DatabaseBackend):  # type: ignore[misc]
    """Tries again for as long as the database is away: a result that is lost would hold its slot for ever."""

    compiled: Any = None

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the connection failed, and not the statement."""
        return isinstance(exc, DBAPIError)

    def _store_result(
        self,
        task_id: str,
        result: Any,  # noqa: ANN401 - what a Celery task returned
        state: str,
        traceback: str | None = None,
        request: Any = None,  # noqa: ANN401 - Celery's context of the task
        **_: Any,  # noqa: ANN401 - what a later Celery may add
    ) -> None:
        """Store a result in one statement, where Celery asks for it, adds it and changes it."""
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request, format_date=False, encode=True
        )
        session = self.ResultSession()
        with session_cleanup(session):
            connection = session.connection()
            if self.compiled is None:
                self.compiled = compile_result(self.task_cls.__table__, connection.dialect)
            connection.execute(
                self.compiled, {name: meta.get(name) for name in self.compiled.column_keys} | {"task_id": task_id}
            )
            session.commit()
