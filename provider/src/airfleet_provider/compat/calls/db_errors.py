"""The errors of SQLAlchemy that mean that the database does not answer."""

from __future__ import annotations

# SQLAlchemy is imported inside the function: not every process that imports this one needs it.
# ruff: noqa: PLC0415

# The most and the least seconds between two attempts. A planned switch-over ends within two seconds.
RETRY_S = 1.0
FIRST_RETRY_S = 0.1
# SQLSTATE classes of a value that PostgreSQL refuses: a data exception, a limit of what it can hold.
UNSTORABLE_CLASSES = ("22", "54")


def choose_pause(away_s: float, *, most_s: float = RETRY_S) -> float:
    """Return the seconds until the next attempt, in an outage of `away_s` so far: a tenth of it, within the limits."""
    return min(most_s, max(FIRST_RETRY_S, away_s / 10))


def is_unstorable(error: Exception) -> bool:
    """Return whether the database refused a value of the statement, which it will refuse again."""
    return str(getattr(getattr(error, "orig", None), "pgcode", None))[:2] in UNSTORABLE_CLASSES


def is_outage(error: Exception) -> bool:
    """Return whether a connection broke or could not be opened. An error of the statement itself is no outage."""
    from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
    from sqlalchemy.exc import TimeoutError as ExhaustedError

    if isinstance(error, PendingRollbackError | ExhaustedError):
        return True
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def is_missing_table(error: Exception) -> bool:
    """Return whether a statement failed because a table or a schema does not exist."""
    return str(getattr(getattr(error, "orig", error), "pgcode", None)) in ("42P01", "3F000")
