"""Appends records to a file of this process, in the folder of this host. A task never waits for more than that."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Mapping
from typing import Any

from airfleet_provider.contract import environment, task_records
from airfleet_provider.contract.task_records import RecordKind


class RecordWriter:
    """The file of one process. A process that was forked from it has another file. All methods are for any thread."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._process = 0
        self._descriptor = -1
        self._size = 0
        self._is_full = False

    @property
    def is_on(self) -> bool:
        """Whether this is a process of a task whose records are wanted."""
        return environment.RECORDS in self._environ

    def write(self, kind: RecordKind, body: Mapping[str, Any]) -> bool:
        """Append a record, and return whether it was kept. It never raises: no task fails for want of a record."""
        try:
            line = task_records.encode(kind, body)
        except (ValueError, RecursionError):
            return False
        with self._lock:
            try:
                return self._append(line)
            except OSError:
                return False

    def _append(self, line: bytes) -> bool:
        prefix = self._environ.get(environment.RECORDS)
        if not prefix:
            return False
        if self._process != os.getpid():
            # A descriptor of the process that this one was forked from is left to that one.
            path = task_records.name_file(prefix, secrets.token_hex(16))
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._process, self._size, self._is_full = os.getpid(), 0, False
            # It ends with this process, however that ends. Until then, nobody takes the file away.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if self._is_full:
            return False
        is_large = len(line) > task_records.MOST_RECORD_BYTES
        if is_large or self._size + len(line) > task_records.MOST_FILE_BYTES:
            self._is_full = not is_large
            said = "a record was too large" if is_large else "the file is full: what follows is missing"
            line = task_records.encode(RecordKind.CUT, {"why": said})
            if self._size + len(line) > task_records.MOST_FILE_BYTES + task_records.CUT_BYTES:
                return False
            self._put(line)
            return False
        self._put(line)
        return True

    def _put(self, line: bytes) -> None:
        # One write: a process that is killed leaves a whole line or the beginning of one, which nobody reads.
        self._size += os.write(self._descriptor, line)
