"""The rows of one command of airfleet in the audit log: that it began, and how it ended."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from airfleet.errors import DatabaseAwayError
from airfleet.operations import audit_spool
from airfleet.workspace.actor import find_actor
from airfleet.workspace.project import find_state
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource, format_moment

RESTORE = "db restore"
# Parameters of commands that are no part of what a command changes, and the `conf` of a run, which may have secrets.
HIDDEN = frozenset({"project", "state", "as_json", "conf"})


@contextmanager
def record(name: str, words: Mapping[str, object], *, folder: Path, state: Path | None) -> Iterator[None]:
    """Record that a command begins, and how it ends, in the platform of the project in `folder`.

    The command itself never fails for the want of a row: what the database does not take waits in the state folder.
    """
    place = find_state(folder.resolve(), state)
    before = _hash_file(folder / "fleet.yaml")
    entry = AuditEntry(
        id=str(uuid4()),
        source=AuditSource.AIRFLEET,
        actor=find_actor(),
        address=_find_address(),
        action=f"airfleet {name}",
        outcome=AuditOutcome.BEGUN,
        before=before,
        detail={
            "arguments": {key: _show(value) for key, value in words.items() if key not in HIDDEN and value},
            "at": format_moment(datetime.now(UTC)),
        },
    )
    _write(place, entry)
    if name == "down":
        _flush(folder, state, place)
    outcome, status = AuditOutcome.FAILED, 1
    is_away = False
    try:
        yield
        outcome, status = AuditOutcome.DONE, 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        outcome = AuditOutcome.FAILED if status else AuditOutcome.DONE
        raise
    except BaseException as error:
        status = int(getattr(error, "exit_code", 1))
        is_away = isinstance(error, DatabaseAwayError)
        raise
    finally:
        after = _hash_file(folder / "fleet.yaml")
        detail = {"began": entry.id, "at": format_moment(datetime.now(UTC))}
        ended = replace(entry, id=str(uuid4()), outcome=outcome, status=status, after=after, detail=detail)
        if name == RESTORE and outcome is AuditOutcome.DONE:
            with suppress(OSError):
                audit_spool.set_heads_aside(place, entry.id)
        _write(place, ended)
        # The user sees the error only after this, and a database that hangs would take another ten seconds.
        if name != "down" and not is_away:
            _flush(folder, state, place)


def _write(place: StateFolder, entry: AuditEntry) -> None:
    # Before the first `up` or `apply` there is no folder, and no platform either.
    if place.root.is_dir():
        with suppress(OSError):
            audit_spool.spool(place, entry)


def _flush(folder: Path, state: Path | None, place: StateFolder) -> None:
    """Send what waits to the database, if that answers."""
    if not (place.root / audit_spool.FOLDER / audit_spool.SPOOL).exists():
        return
    from airfleet.operations.audit import open_log  # noqa: PLC0415 - it imports the driver of the database

    with suppress(Exception), open_log(folder, state):
        pass


def _hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _find_address() -> str:
    """Return where the person is logged in from, if through SSH, else the name of this machine."""
    return os.environ.get("SSH_CONNECTION", "").partition(" ")[0] or socket.gethostname()


def _show(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_show(one) for one in value]
    return value if isinstance(value, bool | int | float) else str(value)
