"""Hands the records of attempts over to the API of tasks, once each attempt has ended. It never raises.

A file is removed when the API has written its records to the database. If that fails, it stays, and the supervisor of a
later attempt on this host hands it over. A record that is handed over twice is the same record. A file that a process
may still write to is locked by that process, and is not removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from airfleet_provider.contract import environment, task_records

log = logging.getLogger(__name__)

# Seconds for an answer of the API. The task has ended, and its slot is needed.
ANSWER_S = 2.0
# Files of earlier attempts that are handed over with one attempt, and the seconds since they were last written.
MOST_LEFT, LEFT_S = 3, 120.0
# Files that are kept while nothing takes them. The oldest go first.
MOST_FILES, OLDEST_S = 2000, 3 * 86_400.0
# Files of which it is found out whether a task still writes to them, before they count as left behind.
MOST_PROBED = 50
# What the API answers once the records are in the database, and where they never will be. After any other answer the
# file stays: 403 says that the token has ended, 404 that the API is of an earlier version.
TAKEN, REFUSED = range(200, 300), frozenset({410, 413, 422})


class FileOutcome(Enum):
    """What has become of a file."""

    DONE = auto()
    # A process may still write to it.
    OPEN = auto()
    # The API takes nothing now.
    LATER = auto()


@dataclass(slots=True)
class RecordHandover:
    """Hands over the files of one attempt. `folder` is that of this host; without one, nothing happens."""

    client: Any
    folder: str
    instance: str
    has_spans: bool = False
    wall: Callable[[], float] = time.time
    # The age of each file of an earlier attempt that waits here.
    _left: dict[str, float] = field(default_factory=dict)

    def prepare(self) -> dict[str, str]:
        """Return the variables for the processes of the task, and make the folder."""
        if not self.folder:
            return {}
        try:
            Path(self.folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            log.warning("no records of tasks are kept: %s", error)
            return {}
        wanted = {environment.SPANS: "1"} if self.has_spans else {}
        return {environment.RECORDS: str(Path(self.folder, self.instance)), **wanted}

    def finish(self) -> None:
        """Hand over the files of this attempt, and some that earlier ones have left behind."""
        if not self.folder:
            return
        try:
            names = sorted(one.name for one in Path(self.folder).iterdir())
            own = [name for name in names if name.startswith(f"{self.instance}.")]
            ages = self._find_ages([name for name in names if name not in own])
            self._left = self._find_left(ages)
            for name in own:
                if self._hand_over(name) is FileOutcome.LATER:
                    return
            self._finish_others(ages)
        except Exception as error:
            log.info("records of tasks wait in %s: %s: %s", self.folder, type(error).__name__, error)

    def _find_ages(self, names: list[str]) -> dict[str, float]:
        """Return the seconds since each file was last written, the oldest first."""
        ages = {}
        for name in names:
            if task_records.read_name(name):
                try:
                    ages[name] = self.wall() - Path(self.folder, name).stat().st_mtime
                except OSError:
                    continue
        return dict(sorted(ages.items(), key=lambda one: -one[1]))

    def _find_left(self, ages: dict[str, float]) -> dict[str, float]:
        """Return the files that an attempt left behind. One to which a task still writes is none."""
        old = {name: age for name, age in ages.items() if age > LEFT_S}
        written = {name for name in list(old)[:MOST_PROBED] if self._is_written(name)}
        return {name: age for name, age in old.items() if name not in written}

    def _is_written(self, name: str) -> bool:
        try:
            with open(Path(self.folder, name), "rb", buffering=0, opener=_open_plainly) as file:
                return _is_locked(file.fileno())
        except OSError:
            return False

    def _finish_others(self, ages: dict[str, float]) -> None:
        oldest = list(ages)
        drop = [name for place, name in enumerate(oldest) if ages[name] > OLDEST_S or len(oldest) - place > MOST_FILES]
        for name in drop:
            Path(self.folder, name).unlink(missing_ok=True)
            self._left.pop(name, None)
        if drop:
            log.warning("%d files of records of tasks were removed: nothing took them for too long", len(drop))
        taken = 0
        for name in [one for one in oldest if ages[one] > LEFT_S and one not in drop]:
            outcome = self._hand_over(name)
            taken += outcome is FileOutcome.DONE
            if outcome is FileOutcome.LATER or taken == MOST_LEFT:
                return

    def _hand_over(self, name: str) -> FileOutcome:
        """Hand over a file. One of an attempt that still runs is left to the supervisor of that attempt."""
        read = task_records.read_name(name)
        if read is None:
            return FileOutcome.DONE
        path = Path(self.folder, name)
        self._left.pop(name, None)
        try:
            file = open(path, "rb", buffering=0, opener=_open_plainly)  # noqa: SIM115 - only an error of this is caught
        except OSError:
            _remove_odd(path)
            return FileOutcome.DONE
        with file:
            is_written = _is_locked(file.fileno())
            if is_written and read[0] != self.instance:
                return FileOutcome.OPEN
            try:
                content = os.pread(file.fileno(), task_records.MOST_FILE_BYTES + task_records.CUT_BYTES, 0)
            except OSError:
                _remove_odd(path)
                return FileOutcome.DONE
            if b"\n" in content and not self._send(read, content):
                return FileOutcome.LATER
            if is_written:
                return FileOutcome.OPEN
            path.unlink(missing_ok=True)
        return FileOutcome.DONE

    def _send(self, read: tuple[str, str], content: bytes) -> bool:
        """Send records, and return whether the API wants them no more: it has them, or refuses them for ever."""
        headers = {"Content-Type": "application/x-ndjson", "Airfleet-Instance": read[0], "Airfleet-File": read[1]}
        # What is left here when this file is gone.
        headers["Airfleet-Spool"] = f"{len(self._left)} {int(max(self._left.values(), default=0.0))}"
        # `send` and not `request`: Airflow's client would repeat that for minutes.
        request = self.client.build_request(
            "PUT", task_records.REPORT_TO, content=content, headers=headers, timeout=ANSWER_S
        )
        status = self.client.send(request).status_code
        if status in REFUSED:
            log.warning("records of a task were refused: %d", status)
        return status in TAKEN or status in REFUSED


def _open_plainly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _remove_odd(path: Path) -> None:
    """Remove a link or a pipe that a task made. A file stays, as it may be read later; perhaps it is gone already."""
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def _is_locked(descriptor: int) -> bool:
    """Return whether a process still has the file open for its records. If not, keep other supervisors away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False
