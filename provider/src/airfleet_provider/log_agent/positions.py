"""How far each file and the journal were taken, on the disk: an SQLite database.

A row is written before a line of its file is added.

A file is known by its device and inode. A digest of its first bytes tells a new file that got the inode of an old one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    source TEXT NOT NULL,
    offset INTEGER NOT NULL,
    head_length INTEGER NOT NULL,
    head_digest INTEGER NOT NULL,
    is_cut INTEGER NOT NULL,
    PRIMARY KEY (device, inode)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (cursor TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class FilePosition:
    """How far a file was taken. `source` is its name in the index. `is_cut`: the rest of it is not taken any more."""

    device: int
    inode: int
    source: str
    offset: int
    head_length: int
    head_digest: int
    is_cut: bool = False


class Positions:
    """The positions of all files of a host. One thread uses it."""

    def __init__(self, path: Path) -> None:
        """Open the database, and make it if it does not exist.

        Raises:
            sqlite3.Error: It cannot be opened, or it is no database.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A position must not be older than the index after a power cut, or a file would get a second name.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)

    def find(self, device: int, inode: int) -> FilePosition | None:
        """Return the position of a file, or None."""
        row = self._connection.execute(
            "SELECT source, offset, head_length, head_digest, is_cut FROM file WHERE device = ? AND inode = ?",
            (device, inode),
        ).fetchone()
        if row is None:
            return None
        source, offset, head_length, head_digest, is_cut = row
        return FilePosition(device, inode, source, offset, head_length, head_digest, bool(is_cut))

    def find_cursor(self) -> str:
        """Return the cursor of the last entry of the journal that was taken, or ""."""
        row = self._connection.execute("SELECT cursor FROM journal").fetchone()
        return str(row[0]) if row else ""

    def write_cursor(self, cursor: str) -> None:
        """Write how far the journal was taken. Raises sqlite3.Error."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute("DELETE FROM journal")
            self._connection.execute("INSERT INTO journal VALUES (?)", (cursor,))
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise

    def write(self, positions: Iterable[FilePosition], gone: Iterable[tuple[int, int]] = ()) -> None:
        """Write positions and remove those of files that are gone, in one transaction.

        Raises:
            sqlite3.Error: The disk is full, for example. Nothing was written.
        """
        rows = [
            (one.device, one.inode, one.source, one.offset, one.head_length, one.head_digest, one.is_cut)
            for one in positions
        ]
        keys = list(gone)
        if not rows and not keys:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("DELETE FROM file WHERE device = ? AND inode = ?", keys)
            self._connection.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()
