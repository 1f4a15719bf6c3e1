"""The former name of the bundles, for an airflow.cfg that an earlier airfleet wrote; it goes with the next version."""

from __future__ import annotations

import warnings

from airfleet_provider.bundles.folder_bundle import FolderBundle
from airfleet_provider.bundles.release_bundle import ReleaseBundle

__all__ = ["FolderBundle", "ReleaseBundle"]

warnings.warn(f"{__name__} is now airfleet_provider.bundles", DeprecationWarning, stacklevel=2)
