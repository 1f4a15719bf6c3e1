"""What the state folder keeps of the audit log: entries that wait for the database, heads of the chain, and cuts.

A command of airfleet must work while the database is away, since it may be the cure. So its entries go into a file
first, and into the database as soon as that answers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airfleet.workspace import file_lock
from airfleet.workspace.state_folder import StateFolder, sync_folder
from airfleet_provider.contract import audit_log, audit_store
from airfleet_provider.contract.audit_log import AuditEntry, Head

if TYPE_CHECKING:
    import psycopg

FOLDER, SPOOL, HEADS, CUTS = "audit", "spool.jsonl", "heads.jsonl", "cuts.jsonl"
# The last lines of heads.jsonl; one has about 250 bytes.
LAST_BYTES = 4096


def spool(folder: StateFolder, entry: AuditEntry) -> None:
    """Keep an entry on disk until `flush`.

    Raises:
        OSError: The folder cannot be written.
    """
    with _hold(folder):
        _append(folder.root / FOLDER / SPOOL, json.dumps({"id": entry.id, "entry": entry.to_text()}))


def flush(folder: StateFolder, connection: psycopg.Connection[dict[str, Any]]) -> int:
    """Record the entries that wait, keep the head of the chain, and return the number of entries.

    If the process is killed before the file is removed, the entries are recorded again without a second row: they
    have their ids already.

    Raises:
        psycopg.Error: The database does not answer. The entries stay.
    """
    path = folder.root / FOLDER / SPOOL
    if not path.exists():
        return 0
    with _hold(folder):
        if not path.exists():  # another command has sent them meanwhile
            return 0
        waiting = list(_read(path))
        with connection.transaction():
            for one in waiting:
                audit_store.record_text(connection.execute, one["id"], one["entry"])
        head = connection.execute(audit_store.find_head()).fetchone()
        path.unlink(missing_ok=True)
    if head:
        keep_head(folder, Head(**head))
    return len(waiting)


def keep_head(folder: StateFolder, head: Head) -> None:
    """Add a head to those that the state folder keeps, if it is a new one.

    Raises:
        OSError: The folder cannot be written.
    """
    with _hold(folder):
        last = _read_last_head(folder.root / FOLDER / HEADS)
        if last is None or (last.number, last.hash) != (head.number, head.hash):
            _append(folder.root / FOLDER / HEADS, head.to_line())


def set_heads_aside(folder: StateFolder, name: str) -> None:
    """Keep the heads under another name: the database was put back to an earlier moment, and goes on from there.

    Raises:
        OSError: The folder cannot be written.
    """
    with _hold(folder), suppress(FileNotFoundError):
        (folder.root / FOLDER / HEADS).rename(folder.root / FOLDER / f"heads-{name}.jsonl")


def read_heads(folder: StateFolder) -> Iterator[Head]:
    """Yield the heads that the state folder keeps, the oldest first."""
    with suppress(FileNotFoundError), (folder.root / FOLDER / HEADS).open(encoding="utf-8") as file:
        yield from audit_log.read_heads(file)


def keep_cut(folder: StateFolder, last: Head) -> None:
    """Keep the number and hash of the last row that a cut of the log is about to remove.

    Raises:
        OSError: The folder cannot be written.
    """
    with _hold(folder):
        _append(folder.root / FOLDER / CUTS, last.to_line())


def read_cuts(folder: StateFolder) -> frozenset[tuple[int, str]]:
    """Return the numbers and hashes of the last rows that cuts have removed."""
    with suppress(FileNotFoundError), (folder.root / FOLDER / CUTS).open(encoding="utf-8") as file:
        return frozenset((one.number, one.hash) for one in audit_log.read_heads(file))
    return frozenset()


def _hold(folder: StateFolder) -> Any:  # noqa: ANN401 - a context manager
    place = folder.root / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    return file_lock.wait_and_hold(place / "lock")


def _append(path: Path, line: str) -> None:
    """Add a line to a file and to disk. A line that a kill cut off is ended first, so that it spoils no other."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, f"{chr(10) * is_cut}{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def _read_last_head(path: Path) -> Head | None:
    """Return the last head of a file. It grows by a line a minute for years, so its end alone is read."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LAST_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
        return next((one for line in reversed(lines) for one in audit_log.read_heads([line])), None)
    return None


def _read(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):
                found = json.loads(line)
                yield {"id": str(found["id"]), "entry": str(found["entry"])}
