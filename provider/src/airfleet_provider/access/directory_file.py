"""The file that says where users are who are not in fleet.yaml, which only an api-server has."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from airfleet_provider.contract import environment
from airfleet_provider.contract.directory import Directory


@functools.cache
def read_directory() -> Directory | None:
    """Return the directory of this process, or None if all users are local.

    Raises:
        OSError: The file cannot be read.
        ValueError: It describes no directory.
    """
    path = os.environ.get(environment.DIRECTORY)
    return Directory.from_text(Path(path).read_text()) if path else None
