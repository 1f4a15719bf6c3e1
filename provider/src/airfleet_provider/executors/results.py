"""The former name of `result_backend`, for an earlier airflow.cfg; it goes with the next version."""

from __future__ import annotations

import warnings

from airfleet_provider.executors.result_backend import PatientBackend

__all__ = ["PatientBackend"]

warnings.warn(f"{__name__} is now airfleet_provider.executors.result_backend", DeprecationWarning, stacklevel=2)
