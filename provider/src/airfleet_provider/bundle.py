"""The bundle through which Airflow finds the files of a release."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airfleet_provider import artefact, compat, shelf

RESCHEDULE_S = 30.0
LIVE = "live"


class ReleasedElsewhereError(Exception):
    """Dags are parsed and published by the releaser, never by a Dag processor."""

    def __init__(self, bundle: str) -> None:
        super().__init__(f"{bundle} is published by `airflow airfleet releaser`; the Dag processor leaves it as it is")


class ReleaseBundle(BaseDagBundle):  # type: ignore[misc]
    """The releases of one project: with a version one of them, without one the live one.

    A Dag processor that is told to leave its bundles alone ([dag_processor] bundle_refresh_check_interval at
    2147483647) runs callbacks on the release of their run and parses nothing. One that refreshes all the same (a
    click on "reparse", another setting) is refused here before it lists a file: it then neither parses nor
    deactivates anything.
    """

    supports_versioning = True

    @property
    def path(self) -> Path:
        """The folder of the release; that of the live one is a link, which moves with the pointer on this host."""
        return Path(self.versions_dir / self.version if self.version else self.base_dir / LIVE)

    def initialize(self) -> None:
        """Have the files of the release in place, whole and verified, before any is read."""
        if self.version:
            if not self.path.is_dir():
                with self.lock():
                    self._fetch(self.version)
        else:
            # The tracking instance must come up with nothing published yet and without a database.
            with contextlib.suppress(Exception), self.lock():
                self._follow()
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

    def _fetch(self, release: str) -> None:
        try:
            archive = shelf.fetch(release, compat.read_secret_key()) if compat.is_task() else read_archive(release)
        except Exception as error:
            if compat.is_task():
                # The task is started again later, on this host or another, and loses no try.
                raise compat.reschedule(RESCHEDULE_S, datetime.now(UTC)) from error
            raise
        artefact.unpack(release, archive, self.versions_dir / release, like=self.base_dir / LIVE)

    def _follow(self) -> None:
        if compat.is_task():
            return
        with compat.open_session() as session:
            found = session.connection().exec_driver_sql(
                "SELECT live FROM airfleet.pointer WHERE bundle = %(bundle)s", {"bundle": self.name}
            )
            release = found.scalar()
        if release:
            if not (self.versions_dir / release).is_dir():
                self._fetch(release)
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
    """The archive of a release, from the database."""
    with compat.open_session() as session:
        found: Any = (
            session.connection()
            .exec_driver_sql("SELECT archive FROM airfleet.release WHERE id = %(id)s", {"id": release})
            .scalar()
        )
    if found is None:
        raise LookupError(f"the database has no archive of {release}")
    return bytes(found)


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
