"""The folder of the backups of the embedded server, on one machine."""

from __future__ import annotations

from pathlib import Path


def find_newest(folder: Path) -> float | None:
    """Return when the newest backup was finished, in seconds since 1970: then its folder got its name."""
    if not folder.is_dir():
        return None
    return max((path.stat().st_mtime for path in folder.glob("[0-9]*Z/backup.json")), default=None)
