"""Runs one statement in an SQLAlchemy session."""

from __future__ import annotations

from typing import Any


def run(session: Any, statement: str, **values: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's session, values and result
    """Execute one statement unchanged by SQLAlchemy, in the session's transaction; return its result."""
    return session.connection().exec_driver_sql(statement, values)
