"""Finds log files: those that appear in folders which change, and those in the rest of a tree by and by.

A tree of task logs has a folder for each Dag, in it one for each run, and in that one for each task. A folder for each
task of a month is too much to watch: the watches of the kernel are few, and looking at each folder takes long. So
folders in which something happened lately are looked at in each turn, those of the last day in turn, and a sweep
walks through all others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from airfleet_provider.log_agent.rota import KEPT_S, Rota

# Folders that are looked at in a turn although nothing happened in them lately.
MOST_FOLDERS = 1000
# Entries that the sweep looks at in a turn: many until it has seen all once, as nothing is known before.
FIRST_SWEEP, SWEEP = 20_000, 200
# A folder that changed so shortly before it was read may change again at the same time stamp.
UNSURE_NS = 2_000_000_000
# The clock of a file system may be behind, and a sweep takes its time.
OVERLAP_S = 60.0
# Folders of Dags are few, and in them runs appear. Folders of runs are remembered, but not looked at for ever.
ALWAYS_DEPTH, RUN_DEPTH = 1, 2


class LogTree:
    """The files below a folder whose names end as `suffix`."""

    def __init__(
        self, root: str, clock: Callable[[], float], wall: Callable[[], float], *, suffix: str = ".log"
    ) -> None:
        """Look below `root`, which need not exist. `clock` is monotonic; `wall` returns the seconds since 1970."""
        self._root = root
        self._suffix = suffix
        self._wall = wall
        # The time stamp of each folder when it was read, or 0 if it must be read again.
        self._stamps: dict[str, int] = {}
        self._always: dict[str, None] = {root: None}
        self._folders: Rota[str] = Rota(clock, MOST_FOLDERS)
        self._sweep: Iterator[str | None] | None = None
        self._sweep_begun = 0.0
        self._swept_since = 0.0
        self._sweep_entries = FIRST_SWEEP

    def look(self) -> list[str]:
        """Return files that are new, and files that were written since they were last returned, as far as is seen."""
        found: list[str] = []
        for folder in (*self._always, *self._folders.choose()):
            self._look_at(folder, found)
        self._go_on_sweeping(found)
        return found

    def _look_at(self, folder: str, found: list[str]) -> None:
        try:
            stamp = os.stat(folder).st_mtime_ns  # noqa: PTH116 - many times a second
            if stamp == self._stamps.get(folder):
                return
            entries = list(os.scandir(folder))
        except OSError:
            self._drop(folder)
            return
        settled = self._wall() * 1e9 - stamp > UNSURE_NS
        is_new = folder not in self._stamps
        known = self._stamps.get(folder)
        self._stamps[folder] = stamp if settled else 0
        if folder not in self._always and (is_new or known != 0 or not settled):
            self._folders.note_change(folder)
        depth = self._find_depth(folder)
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    self._meet(entry, depth + 1, found)
                elif entry.name.endswith(self._suffix) and entry.is_file(follow_symlinks=False):
                    found.append(entry.path)
            except OSError:
                # The cleaning of old logs has removed it in this moment. The entries after it must be met all the same.
                continue

    def _meet(self, entry: os.DirEntry[str], depth: int, found: list[str]) -> None:
        """Look into a folder if it is not known, and if something happened in it within a day."""
        if entry.path in self._stamps:
            return
        if depth <= ALWAYS_DEPTH:
            self._always[entry.path] = None
        elif self._wall() - (status := entry.stat(follow_symlinks=False)).st_mtime > KEPT_S:
            if depth == RUN_DEPTH:
                self._stamps[entry.path] = status.st_mtime_ns
            return
        self._look_at(entry.path, found)

    def _drop(self, folder: str) -> None:
        self._stamps.pop(folder, None)
        self._folders.drop(folder)
        if folder != self._root:
            self._always.pop(folder, None)

    def _go_on_sweeping(self, found: list[str]) -> None:
        if self._sweep is None:
            self._sweep, self._sweep_begun = self._walk(), self._wall()
        for _ in range(self._sweep_entries):
            try:
                path = next(self._sweep)
            except StopIteration:
                self._sweep, self._swept_since = None, self._sweep_begun - OVERLAP_S
                self._sweep_entries = SWEEP
                self._forget_old()
                return
            if path:
                found.append(path)

    def _forget_old(self) -> None:
        """Forget the time stamps of tasks' folders that are no longer looked at, so that memory does not grow."""
        for folder in [one for one in self._stamps if self._find_depth(one) > RUN_DEPTH and one not in self._folders]:
            del self._stamps[folder]

    def _find_depth(self, folder: str) -> int:
        return folder.count(os.sep) - self._root.count(os.sep)

    def _walk(self) -> Iterator[str | None]:
        """Yield each file that was written since the sweep before, and None for each other entry."""
        waiting = [self._root]
        while waiting:
            try:
                entries = list(os.scandir(waiting.pop()))
            except OSError:
                continue
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        yield None
                    elif entry.name.endswith(self._suffix):
                        is_news = entry.stat(follow_symlinks=False).st_mtime >= self._swept_since
                        yield entry.path if is_news else None
                except OSError:
                    continue
