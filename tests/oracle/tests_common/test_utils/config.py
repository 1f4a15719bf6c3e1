"""Settings for the time of a test: both of Airflow's configurations read the environment first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock


@contextmanager
def conf_vars(settings: Mapping[tuple[str, str], str | None]) -> Iterator[None]:
    """Set what has a value, and leave what has none at its default."""
    names = {f"AIRFLOW__{section.upper()}__{key.upper()}": value for (section, key), value in settings.items()}
    with mock.patch.dict(os.environ, {name: value for name, value in names.items() if value is not None}):
        for name, value in names.items():
            if value is None:
                os.environ.pop(name, None)
        yield
