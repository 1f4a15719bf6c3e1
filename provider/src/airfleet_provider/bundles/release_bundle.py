"""The bundle through which Airflow finds the files of a release."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airfleet_provider.bundles import archive_client, release_files, unavailable_releases
from airfleet_provider.bundles.release_files import CollectedError
from airfleet_provider.compat.calls import config, metadata_db, task_process
from airfleet_provider.contract import archive_store, release_archive

log = logging.getLogger(__name__)

RESCHEDULE_S = 30.0


class ReleasedElsewhereError(Exception):
    """A Dag processor tried to refresh a bundle: only the releaser parses and publishes its Dags."""

    def __init__(self, bundle: str) -> None:
        super().__init__(f"{bundle} is published by `airflow airfleet releaser`; the Dag processor leaves it is")


class ReleaseBundle(BaseDagBundle):  # type: ignore[misc]
    """The releases of one project: the release named by the version or, without a version, the live release.

    airfleet sets [dag_processor] bundle_refresh_check_interval to 2147483647. The Dag processor then runs callbacks on
    the release of their run, and parses nothing. If it refreshes the bundle nevertheless (a click on "reparse",
    another setting), `refresh` raises before the Dag processor lists a file. So it neither parses nor deactivates Dags.
    """

    supports_versioning = True

    def __init__(self, *, store: str | None = None, **options: Any) -> None:  # noqa: ANN401 - as the base has them
        super().__init__(**options)
        self.store = store

    @property
    def path(self) -> Path:
        """The folder of the release; for the live release a link, which moves with the pointer on this host."""
        return Path(self.versions_dir / self.version if self.version else self.base_dir / release_files.LIVE)

    def initialize(self) -> None:
        """Put the files of the release in place, complete and verified, before a caller reads them.

        Without a version, a failure to fetch the live release is only logged.

        Raises:
            CollectedError: the files of the release were removed.
            UnavailableError: a task has waited too long for the release.
        """
        if self.version:
            if not release_archive.use(self.path):
                with self.lock():
                    self._settle(self.version)
        else:
            # This instance must start even if no release was published yet, or if the database is down.
            try:
                with self.lock():
                    self._follow()
            except Exception as error:
                log.warning(
                    "%s: cannot fetch the live release now: %s",
                    self.name,
                    unavailable_releases.describe(error),
                )
        super().initialize()

    def get_current_version(self) -> BundleVersion | None:
        """Return the release that `path` holds now, or None before the first publish."""
        if self.version:
            return BundleVersion(self.version)
        try:
            return BundleVersion(self.path.readlink().name)
        except OSError:
            return None

    def refresh(self) -> None:
        """Refuse, because the Dags of a release are in the database from the moment it is live.

        Raises:
            ReleasedElsewhereError: always.
        """
        raise ReleasedElsewhereError(self.name)

    def _settle(self, release: str) -> None:
        folder = self.versions_dir / release
        if release_archive.settle(release, folder):
            return
        try:
            archive = self._read(release)
            release_archive.unpack(release, archive, folder, like=self.base_dir / release_files.LIVE)
        except CollectedError:
            raise
        except Exception as error:
            if not task_process.is_task():
                raise
            if given_up := unavailable_releases.judge(self.versions_dir, release, error):
                raise given_up from error
            log.warning(
                "%s is not on this host; the task starts again in %.0f s: %s",
                release,
                RESCHEDULE_S,
                unavailable_releases.describe(error),
            )
            # Airflow starts the task again later, on this host or another, without counting a try.
            raise task_process.reschedule(RESCHEDULE_S, datetime.now(UTC)) from error
        if task_process.is_task():
            unavailable_releases.forget(self.versions_dir, release)

    def _read(self, release: str) -> bytes:
        if not task_process.is_task():
            return release_files.read_archive(release)
        if release_files.tombstone(self.versions_dir, release).exists():
            raise CollectedError(release)
        try:
            if self.store:
                return archive_store.read(archive_store.locate(self.store, self.name, release))
            return archive_client.fetch(release, config.read_secret_key())
        except (archive_store.MissingError, archive_client.ReleaseGoneError) as error:
            raise CollectedError(release) from error

    def _follow(self) -> None:
        if task_process.is_task():
            return
        with metadata_db.open_session() as session:
            found = session.connection().exec_driver_sql(
                "SELECT live FROM airfleet.pointer WHERE bundle = %(bundle)s", {"bundle": self.name}
            )
            release = found.scalar()
        if release:
            self._settle(release)
            release_files.point(self.base_dir, release)
