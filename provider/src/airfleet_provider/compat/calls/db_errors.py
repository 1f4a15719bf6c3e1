"""The errors of SQLAlchemy that mean that the database does not answer."""

from __future__ import annotations

# SQLAlchemy is imported inside the function: not every process that imports this one needs it.
# ruff: noqa: PLC0415

# Seconds between two attempts.
RETRY_S = 1.0


def is_outage(error: Exception) -> bool:
    """Return whether a connection broke or could not be opened. An error of the statement itself is no outage."""
    from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
    from sqlalchemy.exc import TimeoutError as ExhaustedError

    if isinstance(error, PendingRollbackError | ExhaustedError):
        return True
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
