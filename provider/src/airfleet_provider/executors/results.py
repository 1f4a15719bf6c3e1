"""Celery's results in a database that may be away for a while."""

from __future__ import annotations

from celery.backends.database import DatabaseBackend
from sqlalchemy.exc import DBAPIError


class PatientBackend(DatabaseBackend):  # type: ignore[misc]
    """Tries again for as long as the database is away: a result that is lost would hold its slot for ever."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the connection failed, and not the statement."""
        return isinstance(exc, DBAPIError)
