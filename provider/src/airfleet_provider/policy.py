"""The former name of `routing.policy`, for entry points of an earlier installation; it goes with the next version."""

from __future__ import annotations

import warnings

from airfleet_provider.routing.policy import task_policy

__all__ = ["task_policy"]

warnings.warn(f"{__name__} is now airfleet_provider.routing.policy", DeprecationWarning, stacklevel=2)
