"""Records what loading a Dag file read and left behind, to detect later changes and obstacles to forking."""

from __future__ import annotations

import itertools
import os
import stat
import sys
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airfleet_provider.processes import file_audit

INSTALLED = ("/site-packages/", "/dist-packages/")
PSEUDO = ("/proc/", "/sys/", "/dev/")
# An entry of sys.modules, which keeps its order: separates the modules before a load from those of the load.
MARK = "airfleet: what follows came with the Dag file"

Fingerprint = tuple[int, int, int] | None


def fingerprint(path: str) -> Fingerprint:
    """Return a value that changes when the file or folder changes; None if it does not exist."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_fresh(watched: Sequence[tuple[str, Sequence[int] | None]]) -> bool:
    """Return whether all watched files and folders still have their fingerprints."""
    for path, known in watched:
        now = fingerprint(path)
        if now is None or known is None:
            if now is not known:
                return False
        elif list(now) != list(known):
            return False
    return True


@dataclass(slots=True)
class LoadAudit:
    """Records the files, sockets and threads of loading one Dag file in this process.

    Python offers no way to remove an audit hook, so the hook ignores events while `looks` is false.
    """

    looks: bool = False
    reads: set[str] = field(default_factory=set)
    modules: tuple[str, ...] = ()
    sockets: frozenset[tuple[int, int]] = frozenset()
    threads: frozenset[int] = frozenset()

    def begin(self) -> None:
        """Record the modules, sockets and threads that exist before the load, and start to record reads."""
        sys.modules[MARK] = types.ModuleType(MARK)
        self.sockets = frozenset(_list_sockets())
        self.threads = frozenset(_list_threads())
        sys.addaudithook(self._hear)
        self.looks = True

    def end(self) -> None:
        """Stop to record reads, and record the modules of the load."""
        self.looks = False
        # Newest first, and no further than the mark: reading an older module's name would copy its memory page.
        self.modules = tuple(itertools.takewhile(lambda name: name != MARK, reversed(sys.modules)))
        del sys.modules[MARK]

    def list_modules(self) -> list[str]:
        """Return the files of the project's own modules that were loaded, sorted."""
        found = []
        for name in self.modules:
            path = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(path, str) and _is_own(path):
                found.append(path)
        return sorted(found)

    def list_watched(self) -> list[tuple[str, Fingerprint]]:
        """Return every file and folder that was read, with its fingerprint now."""
        return [(path, fingerprint(path)) for path in sorted({*self.list_modules(), *self.reads})]

    def find_objection(self) -> str | None:
        """Return why this process must not be forked, or None.

        Forks would share an open connection, and would lose a thread that does not end or restart itself at a fork.
        """
        if opened := sorted(set(_list_sockets()) - self.sockets):
            return f"loading it left {len(opened)} connections open"
        if self._list_new_threads():
            # Libraries that handle forks, such as OpenBLAS, end their threads at a fork: fork once, then count again.
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            if others := self._list_new_threads():
                return f"loading it left threads running: {', '.join(sorted(set(others)))}"
        return None

    def _list_new_threads(self) -> list[str]:
        return [name for thread, name in _list_threads().items() if thread not in self.threads]

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        access = file_audit.read_event(event, arguments) if self.looks else None
        if access is None or access.is_write or not _is_own(access.path) or access.path.endswith(".pyc"):
            return
        if access.is_folder and file_audit.is_import_scan(sys._getframe(1)):
            return  # list_modules covers what the import system loads
        self.reads.add(os.path.abspath(access.path))  # noqa: PTH100 - Path.resolve would follow the link that may move


def _is_own(path: str) -> bool:
    if path.startswith(PSEUDO) or any(part in path for part in INSTALLED):
        return False
    return not path.startswith((sys.base_prefix + "/lib/python", sys.prefix + "/lib/python"))


def _list_sockets() -> Iterable[tuple[int, int]]:
    """Yield the identity of every open socket; copies under several descriptors have the same identity."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        try:
            found = os.fstat(int(name))
        except OSError:
            continue
        if stat.S_ISSOCK(found.st_mode):
            yield found.st_dev, found.st_ino


def _list_threads() -> dict[int, str]:
    names = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            names[int(task.name)] = (task / "comm").read_text().strip()
        except OSError:
            continue
    return names
