"""A process that watches the folders of a project and reports that a file in them has changed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from airfleet_provider.contract import release_archive
from airfleet_provider.processes import lifecycle

# An editor that saves by renaming makes several changes: changes within this time are reported as one.
PAUSE_MS, LONGEST_PAUSE_MS = 50, 400
SETTLED_S = 0.5
# Exit code of a watcher after a folder was created or removed: the next watcher watches the folders that exist then.
MOVED = 3


class FileWatcher:
    """Watches folders of a project in a child process: the watcher has threads, and a process that forks must not."""

    def __init__(self, project: Path, folders: Iterable[str]) -> None:
        self._project = project
        self._folders = tuple(folders)
        self._pid = 0
        self._reader = -1

    def fileno(self) -> int:
        """Return the descriptor that becomes readable after a change, or after the watcher process has ended."""
        return self._reader

    def start(self) -> None:
        """Start the watcher process."""
        parent = os.getpid()
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reader)
            with contextlib.suppress(BaseException):
                _watch(self._project, self._folders, writer, parent)
            os._exit(1)
        os.close(writer)

    def drain(self) -> bool:
        """Discard the reports so far; return whether the watcher still runs.

        If the watcher ended because a folder was created or removed, start the next watcher.
        """
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            return True
        os.close(self._reader)
        _, status = os.waitpid(self._pid, 0)
        if os.waitstatus_to_exitcode(status) == MOVED:
            self.start()
            return True
        return False


def _watch(project: Path, folders: tuple[str, ...], writer: int, parent: int) -> NoReturn:
    from setproctitle import setproctitle  # noqa: PLC0415 - only this process needs them
    from watchfiles import Change, watch  # noqa: PLC0415

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        lifecycle.die_with(parent)
    except lifecycle.ParentGoneError:
        os._exit(0)
    setproctitle("airfleet watcher")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)

    os.dup2(writer, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # an inherited connection would stay open at the database

    def is_news(_: object, name: str) -> bool:
        return (
            not release_archive.IGNORED_FILES.fullmatch(Path(name).name)
            and Path(name).name not in release_archive.IGNORED_NAMES
        )

    def tell(*paths: Path, recursive: bool) -> None:
        try:
            for changes in watch(
                *paths,
                watch_filter=is_news,
                step=PAUSE_MS,
                debounce=LONGEST_PAUSE_MS,
                rust_timeout=0,
                recursive=recursive,
            ):
                os.write(3, b".")
                moved = {Path(name).name for kind, name in changes if kind is not Change.modified}
                if not recursive and moved & set(folders):
                    os._exit(MOVED)
        finally:
            os._exit(1)

    present = [project / name for name in folders if (project / name).is_dir()]
    # Report one change after SETTLED_S: it covers files saved before the kernel began to watch.
    threading.Timer(SETTLED_S, os.write, (3, b".")).start()
    if present:
        threading.Thread(target=tell, args=present, kwargs={"recursive": True}, daemon=True).start()
    tell(project, recursive=False)
    os._exit(1)
