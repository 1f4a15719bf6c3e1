"""Removes releases that no task used for days from a host that cannot connect to the database.

No data is lost: a task that needs a removed release later fetches it again, as on a new host.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from airfleet_provider.bundles import unavailable_releases
from airfleet_provider.contract import release_archive

log = logging.getLogger(__name__)

UNUSED_S = 3 * 86_400.0
# So many releases stay however old they are: the releases that ran last on this host will likely run next.
KEPT = 2
DRAFT_S = 86_400.0
LIVE = "live"
TRACKING = "_tracking"


@dataclass(frozen=True, slots=True)
class LocalRelease:
    """A release on this host, and when a task last began on it, by this host's clock in seconds since 1970 (UTC)."""

    folder: Path
    tracking: Path
    used_at: float


def tidy(storage: Path, now: float) -> list[str]:
    """Remove the unused releases of all bundles on this host; return the ids of the removed releases."""
    return [name for versions in sorted(storage.glob("*/versions")) for name in _tidy_bundle(versions, storage, now)]


def _tidy_bundle(versions: Path, storage: Path, now: float) -> list[str]:
    bundle = versions.parent
    live = _read_link(bundle / LIVE)
    held = sorted(_list_held(versions, storage / TRACKING / bundle.name), key=lambda one: one.used_at, reverse=True)
    gone = [one.folder.name for one in held[KEPT:] if one.folder.name != live and _remove(one, now)]
    for left in versions.glob(".r*"):
        if left.is_dir() and now - left.stat().st_mtime > DRAFT_S:
            release_archive.discard(left)
    unavailable_releases.forget_old(versions, now)
    return gone


def _list_held(versions: Path, tracking: Path) -> list[LocalRelease]:
    folders = [folder for folder in versions.glob("r*") if release_archive.is_whole(folder)]
    return [
        LocalRelease(folder, used, max(_modified(folder / release_archive.MARK), _modified(used)))
        for folder in folders
        for used in (tracking / folder.name,)
    ]


def _remove(one: LocalRelease, now: float) -> bool:
    if now - one.used_at < UNUSED_S or _is_running(one.tracking):
        return False
    # A task that begins now either has touched the mark, or finds no folder and fetches the release again.
    try:
        with release_archive.aside(one.folder) as grave:
            if _modified(grave / release_archive.MARK) > one.used_at:
                grave.rename(one.folder)
                return False
    except FileNotFoundError:  # the worker of another pool of this host was faster
        return False
    one.tracking.unlink(missing_ok=True)
    return True


def _is_running(tracking: Path) -> bool:
    """Return whether a task of this host runs on the release: Airflow locks this file as long as the task runs."""
    with contextlib.suppress(FileNotFoundError), tracking.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read_link(path: Path) -> str:
    try:
        return path.readlink().name
    except OSError:
        return ""


class Tidier:
    """Removes unused releases in a thread: a release may have many files, and the worker must not wait for this."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def begin(self, storage: Path) -> bool:
        """Start the thread and return at once; return False if the previous thread still runs."""
        if self._thread is not None and self._thread.is_alive():
            return False
        self._thread = threading.Thread(target=tidy_quietly, args=(storage,), daemon=True, name="airfleet-tidy")
        self._thread.start()
        return True

    def wait(self) -> None:
        """Return when the thread has ended."""
        if self._thread is not None:
            self._thread.join()


def tidy_quietly(storage: Path) -> None:
    """Remove the unused releases; log errors and never raise."""
    try:
        gone = tidy(storage, time.time())
    except Exception:
        log.exception("cannot remove unused releases now")
        return
    if gone:
        log.info("removed releases that no task used for %.0f days: %s", UNUSED_S / 86_400, ", ".join(gone))
