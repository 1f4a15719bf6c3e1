"""What loading a Dag file touched and left behind, to detect changes of it and dangers in it."""

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
# In sys.modules, which keeps its order, between what was there before a load and what came with it.
MARK = "airfleet: what follows came with the Dag file"

Fingerprint = tuple[int, int, int] | None


def fingerprint(path: str) -> Fingerprint:
    """What changes when a file or a folder does."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_fresh(watched: Sequence[tuple[str, Sequence[int] | None]]) -> bool:
    """Whether all that was read is as it was."""
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
    """Watches this process load one Dag file; Python cannot be told to stop, so it is told to look away."""

    looks: bool = False
    reads: set[str] = field(default_factory=set)
    modules: tuple[str, ...] = ()
    sockets: frozenset[tuple[int, int]] = frozenset()
    threads: frozenset[int] = frozenset()

    def begin(self) -> None:
        """Note what is there before the load; none of it is the load's, whatever number it has afterwards."""
        sys.modules[MARK] = types.ModuleType(MARK)
        self.sockets = frozenset(_list_sockets())
        self.threads = frozenset(_list_threads())
        sys.addaudithook(self._hear)
        self.looks = True

    def end(self) -> None:
        """Look away from now on."""
        self.looks = False
        # The newest come first; a look at an older one would copy the page that its name is on.
        self.modules = tuple(itertools.takewhile(lambda name: name != MARK, reversed(sys.modules)))
        del sys.modules[MARK]

    def list_modules(self) -> list[str]:
        """The files of the project's own modules that were loaded."""
        found = []
        for name in self.modules:
            path = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(path, str) and _is_own(path):
                found.append(path)
        return sorted(found)

    def list_watched(self) -> list[tuple[str, Fingerprint]]:
        """Every file and folder that was read, and what it was like."""
        return [(path, fingerprint(path)) for path in sorted({*self.list_modules(), *self.reads})]

    def find_objection(self) -> str | None:
        """What a fork would share or lose: a connection, or a thread that does not know of forks."""
        if opened := sorted(set(_list_sockets()) - self.sockets):
            return f"loading it left {len(opened)} connections open"
        if self._list_new_threads():
            # Libraries that know about forks, such as OpenBLAS, end their threads at one.
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
            return  # what the import system loads is in list_modules
        self.reads.add(os.path.abspath(access.path))  # noqa: PTH100 - Path.resolve would follow the link that may move


def _is_own(path: str) -> bool:
    if path.startswith(PSEUDO) or any(part in path for part in INSTALLED):
        return False
    return not path.startswith((sys.base_prefix + "/lib/python", sys.prefix + "/lib/python"))


def _list_sockets() -> Iterable[tuple[int, int]]:
    """Every open socket, by what it is and not by its number: a copy under another number is the same connection."""
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
