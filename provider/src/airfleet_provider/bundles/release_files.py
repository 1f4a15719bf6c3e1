"""The files of releases on this host: fetched, pointed to, offered to the other hosts, remembered when removed."""

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
    """The files of a release were removed, as no unfinished run needed them."""

    def __init__(self, release: str) -> None:
        super().__init__(
            f"the files of {release} were removed, as no unfinished run needed them: "
            "run this on the latest version, or build the same files again"
        )


def read_archive(release: str) -> bytes:
    """The archive of a release, from the database or from where the database says it is."""
    with metadata_db.open_session() as session:
        statement = "SELECT archive, location, collected_at FROM airfleet.release WHERE id = %(id)s"
        found = session.connection().exec_driver_sql(statement, {"id": release}).one_or_none()
    if found is None:
        raise LookupError(f"the database knows no release {release}")
    if found.collected_at:
        raise CollectedError(release)
    return bytes(found.archive) if found.archive is not None else archive_store.read(found.location)


def have(name: str, release: str) -> Path:
    """The folder of a release on this host, fetched with the database's help if it is not there whole."""
    base = config.storage_root() / name
    folder = base / "versions" / release
    if not release_archive.settle(release, folder):
        release_archive.unpack(release, read_archive(release), folder, like=base / LIVE)
    if (stone := tombstone(folder.parent, release)).exists():  # not asked of a folder that is only read
        stone.unlink(missing_ok=True)
    return folder


def offer(name: str, release: str) -> None:
    """Have a release in the store that tasks on other hosts fetch it from, if there is one."""
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
    """What stays on this host of a release that was collected, so that nobody waits for it."""
    return versions / f".{release}.collected"


def point(base: Path, release: str) -> None:
    """Make this host's link of the live release lead to another one, at once."""
    link = base / LIVE
    with contextlib.suppress(OSError):
        if link.readlink().name == release:
            return
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base, prefix=f".{LIVE}.") as folder:
        draft = Path(folder) / LIVE
        draft.symlink_to(Path("versions") / release)
        draft.replace(link)
