"""Which errors of SQLAlchemy mean that the database is away."""

from __future__ import annotations

# SQLAlchemy is imported inside the function: not every process that imports this one needs it.
# ruff: noqa: PLC0415

# How long to wait between two tries.
RETRY_S = 1.0


def is_outage(error: Exception) -> bool:
    """Whether the connection broke, or could not be had: not what a statement itself did wrong."""
    from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
    from sqlalchemy.exc import TimeoutError as ExhaustedError

    if isinstance(error, PendingRollbackError | ExhaustedError):
        return True
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
