"""The files of releases on this host: fetches them, links the live release, offers them to other hosts."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

from airfleet_provider.compat.calls import config, metadata_db
from airfleet_provider.contract import archive_store, release_archive
from airfleet_provider.contract.locks import COLLECT_LOCK

LIVE = "live"


class CollectedError(LookupError):
    """The files of a release were removed, because no unfinished run needed them."""

    def __init__(self, release: str) -> None:
        super().__init__(
            f"the files of {release} were removed, because no unfinished run needed them: "
            "run this on the latest version, or build the same files again"
        )


def read_archive(release: str) -> bytes:
    """Return the archive of a release, from the database or from the location stored there.

    Raises:
        CollectedError: the files of the release were removed.
        LookupError: the database has no such release.
        StoreError: the store cannot be read.
    """
    with metadata_db.open_session() as session:
        statement = "SELECT archive, location, collected_at FROM airfleet.release WHERE id = %(id)s"
        found = session.connection().exec_driver_sql(statement, {"id": release}).one_or_none()
    if found is None:
        raise LookupError(f"the database has no release {release}")
    if found.collected_at:
        raise CollectedError(release)
    return bytes(found.archive) if found.archive is not None else archive_store.read(found.location)


def have(name: str, release: str) -> Path:
    """Return the folder of a release on this host; fetch the release if the folder is missing or incomplete.

    Raises:
        LookupError: the release does not exist, or its files were removed (CollectedError).
        CorruptError: the archive does not have the id of the release.
        StoreError: the store cannot be read.
    """
    base = config.storage_root() / name
    folder = base / "versions" / release
    if not release_archive.settle(release, folder):
        release_archive.unpack(release, read_archive(release), folder, like=base / LIVE)
    if (stone := tombstone(folder.parent, release)).exists():  # unlink only if it exists: the folder may be read-only
        stone.unlink(missing_ok=True)
    return folder


def offer(name: str, release: str) -> None:
    """Copy a release to the store from which tasks on other hosts fetch it; do nothing if no store is configured.

    Raises:
        StoreError: the store cannot be written.
    """
    configured = json.loads(config.read_setting("dag_processor", "dag_bundle_config_list", "[]"))
    place = next((one["kwargs"].get("store") for one in configured if one["name"] == name), None)
    if place is None:
        return
    location = archive_store.locate(place, name, release)
    with metadata_db.open_session() as session:
        connection = session.connection()
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock_shared(%(lock)s)", {"lock": COLLECT_LOCK})
        statement = "SELECT location FROM airfleet.release WHERE id = %(id)s AND collected_at IS NULL"
        if connection.exec_driver_sql(statement, {"id": release}).scalar() == location:
            return
        archive_store.write(location, read_archive(release))
        connection.exec_driver_sql(
            "UPDATE airfleet.release SET location = %(location)s, archive = NULL WHERE id = %(id)s",
            {"location": location, "id": release},
        )


def tombstone(versions: Path, release: str) -> Path:
    """Return the file that marks a collected release on this host, so that tasks fail instead of waiting for it."""
    return versions / f".{release}.collected"


def point(base: Path, release: str) -> None:
    """Make this host's link of the live release point to `release`, atomically."""
    link = base / LIVE
    with contextlib.suppress(OSError):
        if link.readlink().name == release:
            return
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base, prefix=f".{LIVE}.") as folder:
        draft = Path(folder) / LIVE
        draft.symlink_to(Path("versions") / release)
        draft.replace(link)
