"""One statement in a session of SQLAlchemy."""

from __future__ import annotations

from typing import Any


def run(session: Any, statement: str, **values: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's session, values and result
    """Execute one statement as it is written, in the session's transaction."""
    return session.connection().exec_driver_sql(statement, values)
