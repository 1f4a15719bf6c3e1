"""Restore a server's data to a moment. The data is restored beside the present data, and exchanged when it is complete.

A kill before the exchange leaves the present data unchanged. A kill after it leaves the restored data in place, and the
former data in a folder beside it. The file `MARK` distinguishes the two.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.catalogue import Backup
from airfleet.operations.backup.embedded.cluster import Cluster, exchange, remove
from airfleet.operations.backup.embedded.store import Store, extract
from airfleet.operations.backup.embedded.take import Clock, read_clock
from airfleet.workspace.state_folder import sync_folder

MARK = "airfleet_restoring"
SETTINGS = "postgresql.auto.conf"
LOG = "restore.log"


@dataclass(frozen=True, slots=True)
class RestoredCluster:
    """The result of a restore: the backup, the moment that the data has reached, and the folder of the former data."""

    backup: str
    to: datetime
    kept: Path


def restore(
    cluster: Cluster, backup: Backup, *, to: datetime | None, notify: Callable[[str], None], clock: Clock = read_clock
) -> RestoredCluster:
    """Replace the data of a stopped server with its state at `to`, or without `to` with the newest archived state.

    Raises:
        AirfleetError: The server runs, or the data cannot be restored. The present data is then unchanged.
    """
    store = Store(cluster.backups)
    with store.lock():
        _require_stopped(cluster)
        draft = _draft(cluster)
        keep_aside(cluster, clock())
        notify("archiving the server's latest changes")
        _rescue(cluster)
        notify(f"unpacking {backup.name}")
        draft.mkdir(mode=0o700)
        (draft / MARK).touch()
        extract(store.folder(backup), draft)
        _write_recovery(cluster, draft, to)
        _give(cluster, draft)
        notify("recovering" + (f" to {to:%Y-%m-%d %H:%M:%S} UTC" if to else " all that was archived"))
        log = cluster.backups / LOG
        with cluster.serve(draft, log) as port:
            reached = _read_newest(cluster, port)
        (draft / MARK).unlink()
        sync_folder(draft)
        exchange(draft, cluster.data)
        kept = keep_aside(cluster, clock())
    if kept is None:
        raise AirfleetError("the former data is gone", where=str(draft))
    return RestoredCluster(backup.name, to or reached, kept)


def keep_aside(cluster: Cluster, now: datetime) -> Path | None:
    """Clear the folder in which data is restored, and return the folder of kept data, if there was any.

    Unfinished restored data is deleted. Former data of the server is moved to a folder that is kept.
    """
    draft = _draft(cluster)
    remove(draft.with_name(f"{draft.name}.gone"))
    if not draft.exists():
        return None
    if (draft / MARK).exists() or not (draft / "PG_VERSION").exists():
        remove(draft)
        return None
    kept = cluster.data.with_name(f"{cluster.data.name}.before-{now.strftime(catalogue.STAMP)}")
    draft.rename(kept)
    sync_folder(draft.parent)
    return kept


def _draft(cluster: Cluster) -> Path:
    return cluster.data.with_name(f"{cluster.data.name}.restoring")


def _require_stopped(cluster: Cluster) -> None:
    pid = cluster.data / "postmaster.pid"
    # After a crash, another program may have this process id.
    command = Path(f"/proc/{pid.read_text().split()[0]}/cmdline") if pid.exists() else pid
    if command.exists() and b"postgres" in command.read_bytes():
        raise AirfleetError("the server runs on this data", where=str(cluster.data), hint="airfleet down")


def _rescue(cluster: Cluster) -> None:
    """Archive the WAL that the stopped server has not archived, so that every moment up to its stop can be restored."""
    cluster.wal.mkdir(exist_ok=True)
    cluster.own(cluster.wal)
    for file in sorted((cluster.data / "pg_wal").glob("*")):
        is_segment = len(file.name) == catalogue.SEGMENT_LENGTH or file.suffix == ".history"
        target = cluster.wal / f"{file.name}.gz"
        if file.is_symlink() or not file.is_file() or not is_segment or target.exists():
            continue
        draft = target.with_suffix(".new")
        draft.unlink(missing_ok=True)
        # Both folders belong to the server's user. Root must not follow a link in them.
        source_fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        draft_fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(source_fd, "rb") as source, os.fdopen(draft_fd, "wb") as raw:
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1) as packed:
                shutil.copyfileobj(source, packed)
            raw.flush()
            os.fsync(raw.fileno())
            cluster.own(raw.fileno(), mode=0o600)
        draft.rename(target)
    sync_folder(cluster.wal)


def _write_recovery(cluster: Cluster, draft: Path, to: datetime | None) -> None:
    (draft / "recovery.signal").touch()
    lines = [
        f"restore_command = {_quote(embedded.restore_command(cluster.backups))}",
        "recovery_target_timeline = latest",
    ]
    if to:
        lines += [
            f"recovery_target_time = {_quote(to.astimezone(UTC).isoformat())}",
            "recovery_target_action = promote",
        ]
    (draft / SETTINGS).write_text("\n".join(lines) + "\n")


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _give(cluster: Cluster, draft: Path) -> None:
    """Give the data to the server's user. The content of a folder comes first: until then only root may enter it."""
    for folder, _, files in os.walk(draft, topdown=False):
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                cluster.own(path, mode=0o600)
        cluster.own(Path(folder))


def _read_newest(cluster: Cluster, port: int) -> datetime:
    """Return the time of the last change in the data by the server's clock, and reset the settings of the recovery."""
    with psycopg.connect(cluster.dsn(port), autocommit=True) as connection:
        row = connection.execute("SELECT coalesce(pg_last_xact_replay_timestamp(), clock_timestamp())").fetchone()
        for setting in (
            "restore_command",
            "recovery_target_timeline",
            "recovery_target_time",
            "recovery_target_action",
        ):
            connection.execute(f"ALTER SYSTEM RESET {setting}")
    newest: datetime = row[0] if row else read_clock()
    return newest.astimezone(UTC)
