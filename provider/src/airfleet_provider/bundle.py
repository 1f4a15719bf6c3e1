"""The bundle through which Airflow finds the files of a release."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airfleet_provider import compat, shelf, unavailable
from airfleet_provider.contract import archive_store, release_archive, release_schema

log = logging.getLogger(__name__)

RESCHEDULE_S = 30.0
LIVE = "live"


class ReleasedElsewhereError(Exception):
    """Dags are parsed and published by the releaser, never by a Dag processor."""

    def __init__(self, bundle: str) -> None:
        super().__init__(f"{bundle} is published by `airflow airfleet releaser`; the Dag processor leaves it as it is")


class CollectedError(LookupError):
    """The files of a release were removed, as no unfinished run needed them."""

    def __init__(self, release: str) -> None:
        super().__init__(
            f"the files of {release} were removed, as no unfinished run needed them: "
            "run this on the latest version, or build the same files again"
        )


class ReleaseBundle(BaseDagBundle):  # type: ignore[misc]
    """The releases of one project: with a version one of them, without one the live one.

    A Dag processor that is told to leave its bundles alone ([dag_processor] bundle_refresh_check_interval at
    2147483647) runs callbacks on the release of their run and parses nothing. One that refreshes all the same (a
    click on "reparse", another setting) is refused here before it lists a file: it then neither parses nor
    deactivates anything.
    """

    supports_versioning = True

    def __init__(self, *, store: str | None = None, **options: Any) -> None:  # noqa: ANN401 - as the base has them
        super().__init__(**options)
        self.store = store

    @property
    def path(self) -> Path:
        """The folder of the release; that of the live one is a link, which moves with the pointer on this host."""
        return Path(self.versions_dir / self.version if self.version else self.base_dir / LIVE)

    def initialize(self) -> None:
        """Have the files of the release in place, whole and verified, before any is read."""
        if self.version:
            if not release_archive.use(self.path):
                with self.lock():
                    self._settle(self.version)
        else:
            # The tracking instance must come up with nothing published yet and without a database.
            try:
                with self.lock():
                    self._follow()
            except Exception as error:
                log.warning(
                    "%s: this host does not have the live release now: %s", self.name, unavailable.describe(error)
                )
        super().initialize()

    def get_current_version(self) -> BundleVersion | None:
        """The release that `path` holds now, or None before the first publish."""
        if self.version:
            return BundleVersion(self.version)
        try:
            return BundleVersion(self.path.readlink().name)
        except OSError:
            return None

    def refresh(self) -> None:
        """Refuse: what a release says is in the database from the instant it is live."""
        raise ReleasedElsewhereError(self.name)

    def _settle(self, release: str) -> None:
        folder = self.versions_dir / release
        if release_archive.settle(release, folder):
            return
        try:
            archive = self._read(release)
            release_archive.unpack(release, archive, folder, like=self.base_dir / LIVE)
        except CollectedError:
            raise
        except Exception as error:
            if not compat.is_task():
                raise
            if given_up := unavailable.judge(self.versions_dir, release, error):
                raise given_up from error
            log.warning(
                "%s is not here; started again in %.0f s: %s", release, RESCHEDULE_S, unavailable.describe(error)
            )
            # The task is started again later, on this host or another, and loses no try.
            raise compat.reschedule(RESCHEDULE_S, datetime.now(UTC)) from error
        if compat.is_task():
            unavailable.forget(self.versions_dir, release)

    def _read(self, release: str) -> bytes:
        if not compat.is_task():
            return read_archive(release)
        if tombstone(self.versions_dir, release).exists():
            raise CollectedError(release)
        try:
            if self.store:
                return archive_store.read(archive_store.locate(self.store, self.name, release))
            return shelf.fetch(release, compat.read_secret_key())
        except (archive_store.MissingError, shelf.GoneError) as error:
            raise CollectedError(release) from error

    def _follow(self) -> None:
        if compat.is_task():
            return
        with compat.open_session() as session:
            found = session.connection().exec_driver_sql(
                "SELECT live FROM airfleet.pointer WHERE bundle = %(bundle)s", {"bundle": self.name}
            )
            release = found.scalar()
        if release:
            self._settle(release)
            point(self.base_dir, release)


class FolderBundle(BaseDagBundle):  # type: ignore[misc]
    """The folder of a project as it is now: tasks run what lies there, and the releaser publishes what is saved."""

    supports_versioning = False

    def __init__(self, *, path: str, **others: Any) -> None:  # noqa: ANN401 - Airflow's own arguments
        super().__init__(**others)
        self._path = Path(path)

    @property
    def path(self) -> Path:
        return self._path

    def get_current_version(self) -> None:
        """Nothing: a folder has no versions."""

    def refresh(self) -> None:
        """Refuse: what lies in the folder is in the database a moment after it was saved."""
        raise ReleasedElsewhereError(self.name)


def read_archive(release: str) -> bytes:
    """The archive of a release, from the database or from where the database says it is."""
    with compat.open_session() as session:
        statement = "SELECT archive, location, collected_at FROM airfleet.release WHERE id = %(id)s"
        found = session.connection().exec_driver_sql(statement, {"id": release}).one_or_none()
    if found is None:
        raise LookupError(f"the database knows no release {release}")
    if found.collected_at:
        raise CollectedError(release)
    return bytes(found.archive) if found.archive is not None else archive_store.read(found.location)


def have(name: str, release: str) -> Path:
    """The folder of a release on this host, fetched with the database's help if it is not there whole."""
    base = compat.storage_root() / name
    folder = base / "versions" / release
    if not release_archive.settle(release, folder):
        release_archive.unpack(release, read_archive(release), folder, like=base / LIVE)
    if (stone := tombstone(folder.parent, release)).exists():  # not asked of a folder that is only read
        stone.unlink(missing_ok=True)
    return folder


def offer(name: str, release: str) -> None:
    """Have a release in the store that tasks on other hosts fetch it from, if there is one."""
    configured = json.loads(compat.read_setting("dag_processor", "dag_bundle_config_list", "[]"))
    place = next((one["kwargs"].get("store") for one in configured if one["name"] == name), None)
    if place is None:
        return
    location = archive_store.locate(place, name, release)
    with compat.open_session() as session:
        connection = session.connection()
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock_shared(%(lock)s)", {"lock": release_schema.COLLECT_LOCK}
        )
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
