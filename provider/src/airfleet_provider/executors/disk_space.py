"""Measures the free disk space of a worker.

A worker whose disk is full takes no tasks: they would fail at once, one after another, and use up their tries.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from airflow.configuration import conf

LEAST = 256 << 20
ENOUGH = 512 << 20


def is_short(free: int, *, was_short: bool) -> bool:
    """Return whether `free` bytes are too few to start tasks.

    A disk that was short must have `ENOUGH` bytes again, and not only `LEAST`, so that the answer does not alternate.
    """
    return free < (ENOUGH if was_short else LEAST)


def measure(folders: Iterable[str]) -> int:
    """Return the free bytes of the fullest file system of these folders; 0 if a file system cannot be read."""
    return min((_measure(Path(folder)) for folder in folders), default=0)


def _measure(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        # The first task creates the folder; measure its parent until then.
        return _measure(folder.parent) if folder != folder.parent else 0
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def find_folders() -> tuple[str, ...]:
    """Return the folders to which this host's tasks write: logs, Dags and temporary files."""
    logs = conf.get("logging", "base_log_folder")
    return (logs, conf.get("dag_processor", "dag_bundle_storage_path", fallback=logs), tempfile.gettempdir())
