"""Make a backup of a running server, and delete backups that are too old."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.catalogue import Backup
from airfleet.operations.backup.embedded.cluster import Cluster, remove
from airfleet.operations.backup.embedded.store import DESCRIPTION, MANIFEST, Store, verify
from airfleet.workspace.state_folder import sync_folder, write_file

Clock = Callable[[], datetime]


def read_clock() -> datetime:
    return datetime.now(UTC)


def take(
    cluster: Cluster, port: int, *, airflow: str, keep: int, notify: Callable[[str], None], clock: Clock = read_clock
) -> Backup:
    """Make and verify a backup of the server on this port, then keep the newest `keep` backups.

    The server archives its WAL from the first backup on.

    Raises:
        AirfleetError: Another backup or restore runs, or the backup fails.
    """
    store = Store(cluster.backups)
    with store.lock():
        _remove_drafts(store)
        cluster.wal.mkdir(exist_ok=True)
        cluster.own(cluster.wal)
        began = clock()
        draft = store.root / f"{began.strftime(catalogue.STAMP)}.new"
        draft.mkdir()
        cluster.own(draft)
        notify("copying the database")
        _copy(cluster, port, draft)
        notify("checking the copy")
        verify(draft)
        backup = Backup(
            name=draft.stem,
            began=began,
            ended=_read_end(cluster, port),
            first_segment=_read_first_segment(cluster, port, draft),
            bytes=sum(file.stat().st_size for file in draft.iterdir()),
            postgres=_version(cluster),
            airflow=airflow,
        )
        write_file(draft / DESCRIPTION, backup.to_json())
        _sync_files(draft)
        draft.rename(store.folder(backup))
        sync_folder(store.root)
        prune(cluster, store, keep=keep)
    return backup


def prune(cluster: Cluster, store: Store, *, keep: int) -> None:
    """Delete surplus backups, and then the archived WAL that only those backups needed."""
    for old in catalogue.list_surplus(store.list(), keep=keep):
        remove(store.folder(old))
    first = catalogue.find_first_segment(store.list())
    if first is not None:
        cluster.run("pg_archivecleanup", "--clean-backup-history", "--strip-extension=.gz", str(cluster.wal), first)


def _remove_drafts(store: Store) -> None:
    for folder in (*store.root.glob("*.new"), *store.root.glob("*.gone")):
        remove(folder)


def _copy(cluster: Cluster, port: int, draft: Path) -> None:
    cluster.run(
        "pg_basebackup",
        f"--pgdata={draft}",
        "--format=tar",
        "--gzip",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--username={embedded.SUPERUSER}",
        "--no-password",
        environment={"PGPASSWORD": cluster.superuser.reveal()},
    )


def _read_end(cluster: Cluster, port: int) -> datetime:
    # The server's clock, because a restore compares the requested moment with it.
    with psycopg.connect(cluster.dsn(port), autocommit=True) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    ended: datetime = row[0] if row else read_clock()
    return ended.astimezone(UTC)


def _read_first_segment(cluster: Cluster, port: int, draft: Path) -> str:
    ranges = json.loads((draft / MANIFEST).read_text())["WAL-Ranges"]
    first = min(ranges, key=lambda one: (one["Timeline"], one["Start-LSN"]))
    with psycopg.connect(cluster.dsn(port), autocommit=True) as connection:
        row = connection.execute("SELECT pg_walfile_name(%s::pg_lsn)", (first["Start-LSN"],)).fetchone()
    if row is None:
        raise AirfleetError("the server does not report where the backup starts")
    return str(row[0])


def _version(cluster: Cluster) -> str:
    return cluster.run("postgres", "--version").split()[-1]


def _sync_files(folder: Path) -> None:
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)
