"""The former name of `api_server.plugin`, for entry points of an earlier installation, for one version."""

from __future__ import annotations

import warnings

from airfleet_provider.api_server.plugin import AirfleetPlugin as ShelfPlugin

__all__ = ["ShelfPlugin"]

warnings.warn(f"{__name__} is now airfleet_provider.api_server.plugin", DeprecationWarning, stacklevel=2)
