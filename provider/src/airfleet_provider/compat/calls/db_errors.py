"""The errors of SQLAlchemy that mean that the database does not answer."""

from __future__ import annotations

# SQLAlchemy is imported inside the function: not every process that imports this one needs it.
# ruff: noqa: PLC0415

# Seconds between two attempts at most. The first pauses are shorter, because a planned switch-over ends within seconds.
RETRY_S = 1.0
FIRST_RETRY_S = 0.1
# After so many seconds without an error, the next outage is another one.
RECOVERED_S = 10.0
# SQLSTATE classes of a value that PostgreSQL refuses: a data exception, a limit of what it can hold.
UNSTORABLE_CLASSES = ("22", "54")


def choose_pause(last_s: float, *, worked_s: float) -> float:
    """Return the seconds until the next attempt, after a pause of `last_s` and an attempt that worked for `worked_s`.

    In one outage, each pause is twice the last one, and the longest is `RETRY_S`.
    """
    return FIRST_RETRY_S if last_s <= 0 or worked_s > RECOVERED_S else min(RETRY_S, 2 * last_s)


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
