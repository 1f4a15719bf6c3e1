"""The claim of a platform on a database that somebody else runs: a comment on the schema `airfleet` (ADR 53)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airfleet_provider.contract.locks import CLAIM_LOCK

OWNED_BY = "the platform "
READ = "SELECT coalesce(max(obj_description(oid, 'pg_namespace')), '') FROM pg_namespace WHERE nspname = 'airfleet'"
# Whoever waits for the lock must then see what the other one has written.
BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({CLAIM_LOCK})"

# A function that executes SQL without parameters on a session in autocommit mode, and returns the last rows.
Execute = Callable[[str], Sequence[Sequence[object]]]


class ClaimedError(RuntimeError):
    """Another platform works with the database."""


def is_foreign(comment: str, platform: str) -> bool:
    """Return whether a comment on the schema says that another platform works with the database."""
    return comment.startswith(OWNED_BY) and comment != f"{OWNED_BY}{platform}"


def claim(execute: Execute, platform: str) -> None:
    """Note that a database belongs to a platform, which may do so again. Of several at once, one succeeds.

    Raises:
        ClaimedError: It belongs to another platform. Nothing was changed.
    """
    execute(BEGIN)
    try:
        if is_foreign(str(execute(READ)[0][0]), platform):
            raise ClaimedError("another platform works with this database")
        mark = f"{OWNED_BY}{platform}".replace("'", "''")
        execute(f"CREATE SCHEMA IF NOT EXISTS airfleet; COMMENT ON SCHEMA airfleet IS '{mark}'; COMMIT")
    except BaseException:
        execute("ROLLBACK")
        raise


def speak_utc(execute: Execute) -> None:
    """Let the login's sessions in the database speak UTC. A role may do this for itself, on every server."""
    [[name]] = execute("SELECT quote_ident(current_database())")
    execute(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET timezone TO 'UTC'")
