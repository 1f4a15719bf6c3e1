"""The bundle through which Airflow finds the files of a project that is being developed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle

from airfleet_provider.bundles.release_bundle import ReleasedElsewhereError


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
