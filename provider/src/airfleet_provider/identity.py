"""The former name of `network.address`, for an earlier airflow.cfg; it goes with the next version."""

from __future__ import annotations

import warnings

from airfleet_provider.network.address import find_address

__all__ = ["find_address"]

warnings.warn(f"{__name__} is now airfleet_provider.network.address", DeprecationWarning, stacklevel=2)
