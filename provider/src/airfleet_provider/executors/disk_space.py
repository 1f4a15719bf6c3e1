"""A worker whose disk is full takes no tasks: they would fail at once, one after another, and use up their tries."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from airflow.configuration import conf

LEAST = 256 << 20
ENOUGH = 512 << 20


def is_short(free: int, *, was_short: bool) -> bool:
    """Whether so many free bytes are too few to begin tasks; what was short needs more, so that it does not flutter."""
    return free < (ENOUGH if was_short else LEAST)


def measure(folders: Iterable[str]) -> int:
    """The free bytes of the fullest file system of some folders; one that cannot be asked counts as full."""
    return min((_measure(Path(folder)) for folder in folders), default=0)


def _measure(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        # Made by the first task; on a new host there are only those above it.
        return _measure(folder.parent) if folder != folder.parent else 0
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def find_folders() -> tuple[str, ...]:
    """Where tasks of this host write: their logs, their Dags, and what is temporary."""
    logs = conf.get("logging", "base_log_folder")
    return (logs, conf.get("dag_processor", "dag_bundle_storage_path", fallback=logs), tempfile.gettempdir())
