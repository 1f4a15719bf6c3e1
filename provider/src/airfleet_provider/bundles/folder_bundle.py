"""The bundle through which Airflow finds the files of a project in development."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle

from airfleet_provider.bundles.release_bundle import ReleasedElsewhereError
from airfleet_provider.processes import bytecode


class FolderBundle(BaseDagBundle):  # type: ignore[misc]
    """The folder of a project as it is now: tasks run its current files, and the releaser publishes each saved file."""

    supports_versioning = False

    def __init__(self, *, path: str, **others: Any) -> None:  # noqa: ANN401 - Airflow's own arguments
        super().__init__(**others)
        self._path = Path(path)

    @property
    def path(self) -> Path:
        return self._path

    def initialize(self) -> None:
        """Let this process, whatever it executes of the folder, execute what was saved last."""
        bytecode.compare_nanoseconds(self._path)
        super().initialize()

    def get_current_version(self) -> None:
        """Return None: a folder has no versions."""

    def refresh(self) -> None:
        """Refuse, because the releaser publishes the files of the folder.

        Raises:
            ReleasedElsewhereError: always.
        """
        raise ReleasedElsewhereError(self.name)
