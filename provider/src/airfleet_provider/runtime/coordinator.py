"""The former name of `task_runtime.coordinator`, for an earlier airflow.cfg; it goes with the next version."""

from __future__ import annotations

import warnings

from airfleet_provider.task_runtime.coordinator import WarmCoordinator

__all__ = ["WarmCoordinator"]

warnings.warn(f"{__name__} is now airfleet_provider.task_runtime.coordinator", DeprecationWarning, stacklevel=2)
