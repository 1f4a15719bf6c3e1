"""Settings for the time of a test, in the environment, which both of Airflow's configurations read first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock


@contextmanager
def conf_vars(settings: Mapping[tuple[str, str], str | None]) -> Iterator[None]:
    """Set each option that has a value; an option with None keeps its default."""
    names = {f"AIRFLOW__{section.upper()}__{key.upper()}": value for (section, key), value in settings.items()}
    with mock.patch.dict(os.environ, {name: value for name, value in names.items() if value is not None}):
        for name, value in names.items():
            if value is None:
                os.environ.pop(name, None)
        yield
