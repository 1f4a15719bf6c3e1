"""The statements of the audit log, for any driver: what executes one is given by the caller (ADR 57)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, LiteralString

from airfleet_provider.contract.audit_log import INTENT_ENDS_S, AuditEntry
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "audit_store")

# Executes a statement with its parameters.
Execute = Callable[[LiteralString, Mapping[str, Any]], Any]


def record(execute: Execute, entry: AuditEntry) -> None:
    """Add a row; if the entry has one already, nothing is added."""
    record_text(execute, entry.id, entry.to_text())


def record_text(execute: Execute, identity: str, text: str) -> None:
    """Add a row with the text of an entry, as `record` does."""
    execute(SQL["record"], {"id": identity, "entry": text})


def begin(execute: Execute, entry: AuditEntry) -> None:
    """Record the intent of a request that is about to change something."""
    execute(SQL["begin"], {"id": entry.id, "entry": entry.to_text()})


def withdraw(execute: Execute, entry: AuditEntry) -> None:
    """Remove an intent whose request was not passed on."""
    execute(SQL["withdraw"], {"id": entry.id})


def settle(execute: Execute, entry: AuditEntry) -> None:
    """Replace an intent by the row with its outcome. It may be done twice."""
    execute(SQL["settle"], {"id": entry.id, "entry": entry.to_text()})


def expire(execute: Execute, *, after_s: float = INTENT_ENDS_S) -> None:
    """Turn the intents of requests whose process has died into rows with the outcome `unknown`."""
    execute(SQL["expire"], {"seconds": after_s})


def find_head() -> LiteralString:
    """Return the statement that reads the number and hash of the last row, and the time."""
    return SQL["head"]


def find_list() -> LiteralString:
    """Return the statement that reads the last rows that fit."""
    return SQL["list"]


def find_all() -> LiteralString:
    """Return the statement that reads all rows in their order."""
    return SQL["all"]


def cut(execute: Execute, entry: AuditEntry, number: int) -> None:
    """Remove the rows up to this number, and record the cut of the log, in the transaction of the caller.

    The record comes last, as it holds the end of the chain until the caller commits: no change of the platform is
    recorded meanwhile, and to remove a million rows takes longer than a request waits.
    """
    execute(SQL["allow_cut"], {"number": number})
    execute(SQL["cut"], {"number": number})
    record(execute, entry)
