"""The former name of `network.keepalive`, for an earlier airflow.cfg; it goes with the next version."""

from __future__ import annotations

import warnings

from airfleet_provider.network.keepalive import ASYNC_CONNECT

__all__ = ["ASYNC_CONNECT"]

warnings.warn(f"{__name__} is now airfleet_provider.network.keepalive", DeprecationWarning, stacklevel=2)
