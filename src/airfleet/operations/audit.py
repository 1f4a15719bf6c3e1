"""The audit log of a platform, read, verified, exported and archived through its database (ADR 57)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import psycopg

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import audit_spool, metadata_database
from airfleet.spec.fleet import Fleet
from airfleet.workspace.actor import find_actor
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet.workspace.state_folder import StateFolder, sync_folder
from airfleet_provider.contract import audit_log, audit_store
from airfleet_provider.contract.audit_log import CUT, AuditEntry, AuditOutcome, AuditSource, ChainFinding, Head, Row

# Rows that are fetched together.
FETCHED = 5000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to show; None shows all."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    source: AuditSource | None = None
    outcome: AuditOutcome | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found. `anchors` is the number of heads from outside the database that it compared."""

    rows: int
    first: int
    head: Head
    anchors: int
    findings: tuple[ChainFinding, ...]


class AuditLog:
    """The audit log over one connection in autocommit mode.

    Raises:
        AirfleetError: From every method, if the database does not answer.
    """

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], fleet: Fleet, folder: StateFolder) -> None:
        self._connection = connection
        self.fleet = fleet
        self._folder = folder

    def list_rows(self, chosen: Filter, *, limit: int) -> list[Row]:
        """Return the last rows that fit, the newest last."""
        values = {
            "since": chosen.since,
            "until": chosen.until,
            "actor": chosen.actor,
            "source": chosen.source and chosen.source.value,
            "outcome": chosen.outcome and chosen.outcome.value,
            "text": chosen.text,
            "limit": limit,
        }
        found = self._connection.execute(audit_store.find_list(), values).fetchall()
        return [Row.from_json(one) for one in reversed(found)]

    def read_rows(self, *, until: datetime | None = None) -> Iterator[Row]:
        """Yield the rows in their order. The caller has opened a transaction."""
        with self._connection.cursor("airfleet_audit") as cursor:
            cursor.itersize = FETCHED
            cursor.execute(audit_store.find_all(), {"until": until})
            for one in cursor:
                yield Row.from_json(one)

    @contextmanager
    def take_snapshot(self) -> Iterator[None]:
        """Let all that is read in the block be of one moment."""
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield

    def read_head(self) -> Head:
        """Return the number and hash of the last row."""
        found = self._connection.execute(audit_store.find_head()).fetchone()
        if found is None:
            return Head(0, audit_log.BEGINNING, "")
        return Head(**found)

    def anchor(self) -> Head:
        """Keep the present head in the state folder, outside the database, and return it."""
        head = self.read_head()
        audit_spool.keep_head(self._folder, head)
        return head

    def verify(self, anchors: Iterable[Head], *, archived: Iterable[Row] = ()) -> Verification:
        """Compare every row with its hash, with the row before, and with the heads that were kept elsewhere.

        `archived` are the rows that were removed from the database, in their order. The present head is kept if all
        is well.
        """
        known = [*audit_spool.read_heads(self._folder), *anchors]
        count, first = 0, 0

        def follow() -> Iterator[Row]:
            nonlocal count, first
            last = 0
            for row in archived:
                count, first, last = count + 1, first or row.number, row.number
                yield row
            for row in self.read_rows():
                if row.number > last:
                    count, first = count + 1, first or row.number
                    yield row

        with self.take_snapshot():
            head = self.read_head()
            cuts = audit_spool.read_cuts(self._folder)
            findings = tuple(audit_log.verify(follow(), head, known, key=self._read_key(), cuts=cuts))
        if not findings:
            audit_spool.keep_head(self._folder, head)
        return Verification(count, first, head, len(known), findings)

    def _read_key(self) -> str:
        """Return the key that agents sign heads with, or an empty text if it is not known here."""
        try:
            return audit_log.derive_key((self._folder.secrets / "jwt_secret").read_text())
        except OSError:
            return ""

    def archive(self, before: datetime, target: Path) -> int:
        """Move the rows that were recorded before a moment into a new file, and return their number.

        The file is complete and on disk before a row is removed. The removal is a row of its own, which names the last
        removed row, so that the chain can be verified without the file, too. The state folder has the cut as well: a
        row alone could be anybody's who writes the database. If the command is killed in between, the file is there
        and the rows are, too.

        Raises:
            AirfleetError: The rows are not as they were recorded, so none is removed; or the file exists.
        """
        with self.take_snapshot():
            written = write_rows(target, self.read_rows(until=before))
        if written is None:
            return 0
        count, last = written
        audit_spool.keep_cut(self._folder, Head(last.number, last.hash, audit_log.format_moment(last.recorded_at)))
        with self._connection.transaction():
            detail = {"number": last.number, "hash": last.hash, "rows": count, "file": target.name}
            entry = AuditEntry(
                id=str(uuid4()),
                source=AuditSource.AIRFLEET,
                actor=find_actor(),
                action=CUT,
                outcome=AuditOutcome.DONE,
                detail=detail,
            )
            audit_store.cut(self._connection.execute, entry, last.number)
        return count


def write_rows(target: Path, rows: Iterator[Row]) -> tuple[int, Row] | None:
    """Write rows into a new file, one JSON object a line, and to disk; return their number and the last one.

    They may be millions, so each is verified and written as it comes. Without a row, and after an error, there is no
    file.

    Raises:
        AirfleetError: The rows are not as they were recorded; or the file exists already, or cannot be written.
    """
    count, first, last = 0, 0, None

    def follow(file: IO[str]) -> Iterator[Row]:
        nonlocal count, first, last
        for row in rows:
            file.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")
            count, first, last = count + 1, first or row.number, row
            yield row

    try:
        with _open_new(target) as file:
            for one in audit_log.verify(follow(file), None, ()):
                # An earlier cut may be recorded after these rows: what is before the first row is not looked at.
                if one.number >= first:
                    raise AirfleetError(f"row {one.number} {one.what}", hint="airfleet audit verify")
        if last is None:
            target.unlink()
            return None
        sync_folder(target.parent)
    except FileExistsError:
        raise AirfleetError("the file exists already", where=str(target), hint="name another file") from None
    except OSError as error:
        raise AirfleetError(f"cannot write the archive: {error.strerror}", where=str(target)) from None
    return count, last


@contextmanager
def _open_new(target: Path) -> Iterator[IO[str]]:
    """Open a new file that its owner alone may read. It is on disk at the end, and removed after an error."""
    with open(target, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def read_file(path: Path) -> Iterator[Row]:
    """Yield the rows of a file that `archive` or `export` wrote.

    Raises:
        UsageError: A line of the file is no row.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Row.from_json(json.loads(line))
            except ValueError as error:
                raise UsageError(f"{error}", where=f"{path}:{number}") from None


@contextmanager
def open_log(project: Path, state: Path | None) -> Iterator[AuditLog]:
    """Open the audit log of the platform of a project. Commands whose rows wait in the state folder get them first.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
        AirfleetError: No platform runs there, or its database does not answer.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    folder = find_state(project, state)
    with metadata_database.connect(fleet, project, state, what="audit log") as connection:
        audit_spool.flush(folder, connection)
        yield AuditLog(connection, fleet, folder)
