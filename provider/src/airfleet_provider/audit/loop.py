"""The loop of the agents process that keeps the head of the audit log outside the database, each minute.

It writes the head to its own log, which no process of the database's host reaches; on one machine also to a file. It
also ends the intents of requests whose process has died, and forgets from where users logged in long ago.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.audit import login_limits
from airfleet_provider.contract import audit_store
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.audit_log import HEAD_LINE, Head

log = logging.getLogger(__name__)

NAME = "audit"
EVERY_S = 60.0


class AuditLoop:
    """Keeps a head when it differs from the last one that this process kept."""

    def __init__(self, key: str, heads: Path | None) -> None:
        self._key = key
        self._heads = heads
        self._kept: tuple[int, str] | None = None

    def once(self, context: Context) -> None:
        """Do one turn. Every agents process keeps heads, so that they lie on several hosts.

        Raises:
            psycopg.Error: The database does not answer.
        """
        try:
            with context.share() as connection:
                audit_store.expire(connection.execute)
                login_limits.forget_places(connection.execute)
                row = connection.execute(audit_store.find_head()).fetchone()
        except psycopg.errors.UndefinedTable:
            # An agents process of a new version may start before the migration.
            return
        if row is None or self._kept == (row["number"], row["hash"]):
            return
        head = Head(**row).sign(self._key)
        log.info("%s%s", HEAD_LINE, head.to_line())
        if self._heads:
            append(self._heads, head.to_line())
        self._kept = (head.number, head.hash)


def append(path: Path, line: str) -> None:
    """Add a line to a file and to disk, as its owner alone may read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_loop(config: Mapping[str, Any]) -> Loop:
    """Return the loop with the key and the file of the agents' configuration."""
    own = config.get(AgentsKey.AUDIT, {})
    heads = own.get("heads")
    return Loop(
        NAME, EVERY_S, AuditLoop(str(own.get("key", "")), Path(heads) if heads else None).once, only_active=False
    )
