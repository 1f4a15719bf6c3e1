"""Counts how often work takes its fast path, and how often and why it falls back: no fallback is silent.

Each path has two small files in the state folder of its component. NAME.count holds how often the fast path was taken,
and NAME.json holds the reasons of all fallbacks. Any number of processes of one component write to them. `airfleet
status` reads them, on this machine or over SSH. So the control side shares this module, which imports only the standard
library.

A task of the worker can write any content to the folder. So a reader treats both files as untrusted text, and a writer
never waits for a lock that another process may hold for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from airfleet_provider.contract.text import one_line

log = logging.getLogger("airfleet")

# The paths that are counted.
TASK_START = "task-start"
EXECUTION_API = "execution-api"
SCHEDULER_WAKE = "scheduler-wake"
SCHEDULER_LOOK = "scheduler-look"
SCHEDULER_RULES = "scheduler-rules"
SCHEDULER_STEP = "scheduler-step"
WARM_KEEPER = "warm-keeper"
FOLDER_WATCH = "folder-watch"
TASK_IMAGE = "task-image"
PATHS: Mapping[str, str] = {
    TASK_START: "tasks started from a warm process",
    EXECUTION_API: "calls of tasks answered by the fast path",
    SCHEDULER_WAKE: "waits of the scheduler with notifications from the database",
    SCHEDULER_LOOK: "scheduler loops that examine only changed Dag runs",
    SCHEDULER_RULES: "scheduler starts that skip waiting tasks",
    SCHEDULER_STEP: "changes of Dag runs that needed no scheduler loop",
    WARM_KEEPER: "zygote pools that were relieved by a lean one",
    FOLDER_WATCH: "project folders watched by event",
    TASK_IMAGE: "zygote pools and parsers forked from the task image",
}

VARIABLE = "AIRFLEET_STATE"
FOLDER = "fallbacks"
MOST_REASONS = 24
REASON_CHARS = 240
# The most bytes that a reader reads; a writer never writes more.
FILE_BYTES = 1 << 15
MOST_COUNTED = 10**15
OTHER = "other reasons"
# A reason that has not occurred for so many seconds is logged again.
FORGET_S = 3600.0
# A task may have put a link or a pipe in the place of a file: do not follow it, and do not wait.
SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
LOCK_TRIES, LOCK_WAIT_S = 20, 0.0005


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason of fallbacks: how often and when last (seconds since 1970, this machine's clock); expected by design?"""

    text: str
    count: int
    last: float
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """How often the fast path was taken, and why it was not."""

    fast: int = 0
    reasons: tuple[Reason, ...] = ()

    @property
    def slow(self) -> int:
        return sum(reason.count for reason in self.reasons)


def read(count: str, reasons: str) -> Tally:
    """Read the two files of a path, whose content is not trusted.

    Guarantees numbers within bounds, at most `MOST_REASONS + 1` reasons, and one printable line for each reason.
    """
    text = count.strip()
    fast = min(int(text), MOST_COUNTED) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
    try:
        body = json.loads(reasons[:FILE_BYTES]) if reasons.strip() else {}
    except (ValueError, RecursionError):
        body = {}
    found = []
    for name, value in list(body.items())[: MOST_REASONS + 1] if isinstance(body, dict) else ():
        match value:
            case [int(times), int() | float() as last, bool(expected)] if 0 < times <= MOST_COUNTED and isfinite(last):
                found.append(Reason(one_line(name, REASON_CHARS), times, float(last), expected))
    return Tally(fast, tuple(found))


@dataclass(slots=True)
class Counter:
    """Counts one path in this process, and adds the counts to the component's files every `flush_every_s` at most."""

    name: str
    folder: Path | None
    flush_every_s: float = 0.0
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    fast: int = 0
    slow: dict[str, tuple[int, bool]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    flushed_at: float = float("-inf")

    def took_fast(self, times: int = 1) -> None:
        """Count that the fast path was taken."""
        self.fast += times
        self._flush_in_time()

    def fell_back(self, reason: object, *, expected: bool = False) -> None:
        """Count a fallback; `expected` marks a fallback by design, which is no reason for a warning."""
        text = one_line(reason, REASON_CHARS)
        if text not in self.slow and len(self.slow) >= MOST_REASONS:
            text = OTHER
        count, _ = self.slow.get(text, (0, expected))
        self.slow[text] = (count + 1, expected)
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        now = self.monotonic()
        if now - self.flushed_at >= self.flush_every_s:
            self.flushed_at = now
            self.flush()

    @property
    def is_left(self) -> bool:
        """Whether some counts are not in the files yet."""
        return bool(self.fast or self.slow)

    def flush(self) -> None:
        """Add the counts to the files; if that is not possible now, keep them for the next call. Never raises."""
        if not self.is_left:
            return
        try:
            if self.folder is not None:
                self.folder.mkdir(mode=0o750, exist_ok=True)
                with _locked(self.folder / f"{self.name}.count") as descriptor:
                    if descriptor is not None:
                        self._add(self.folder, descriptor)
                        return
        except OSError:
            pass  # a full disk must not stop work
        # A process that cannot write the files logs each reason once.
        for text, (_, expected) in self.slow.items():
            if text not in self.told and len(self.told) < MOST_REASONS:
                self.told.add(text)
                self._say(text, expected)

    def _add(self, folder: Path, descriptor: int) -> None:
        if self.fast:
            counted = read(os.pread(descriptor, 32, 0).decode("ascii", "replace"), "").fast
            os.pwrite(descriptor, b"%020d\n" % (counted + self.fast), 0)
            self.fast = 0
        if not self.slow:
            return
        path, now = folder / f"{self.name}.json", self.clock()
        known = {reason.text: reason for reason in read("", _read_file(path)).reasons}
        for text, (count, expected) in self.slow.items():
            before = known.get(text, Reason(text, 0, 0.0))
            known[text] = Reason(text, before.count + count, now, expected)
            if text not in self.told and now - before.last >= FORGET_S:
                self._say(text, expected)
            self.told.discard(text)
        _replace(path, {reason.text: [reason.count, reason.last, reason.expected] for reason in _keep(known)})
        self.slow.clear()

    def _say(self, text: str, expected: bool) -> None:
        level = logging.INFO if expected else logging.WARNING
        log.log(level, "%s: fell back from the fast path: %s", self.name, text)


def open_counter(name: str, environment: Mapping[str, str], *, flush_every_s: float = 0.0) -> Counter:
    """Return the counter of a path for this process's component; without a state folder the counter only logs."""
    state = environment.get(VARIABLE)
    return Counter(name, Path(state) / FOLDER if state else None, flush_every_s)


def _keep(known: Mapping[str, Reason]) -> list[Reason]:
    """Return the latest reasons; surplus reasons become the one reason `OTHER`, so that no count is lost."""
    newest = sorted((one for one in known.values() if one.text != OTHER), key=lambda one: one.last, reverse=True)
    kept, left = newest[: MOST_REASONS - 1], [*newest[MOST_REASONS - 1 :], *filter(None, [known.get(OTHER)])]
    if left:
        expected = all(one.expected for one in left)
        kept.append(Reason(OTHER, sum(one.count for one in left), max(one.last for one in left), expected))
    return kept


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """Yield the open file while this process holds its lock; yield None if another process holds it for too long."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | SAFELY, 0o640)
    try:
        yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_WAIT_S)
        else:
            return True
    return False


def _read_file(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFELY)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return file.read(FILE_BYTES).decode("utf-8", "replace") if is_file else ""


def _replace(path: Path, body: Mapping[str, object]) -> None:
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | SAFELY, 0o640)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(body, ensure_ascii=False))
    draft.replace(path)
