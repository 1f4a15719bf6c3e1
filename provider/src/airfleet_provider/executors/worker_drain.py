"""A worker that takes no new tasks while a file says so or its disk is full, and writes down what it does.

Both files outlast a restart.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import bootsteps

from airfleet_provider.bundles import unused_releases
from airfleet_provider.compat.calls import celery_worker
from airfleet_provider.compat.calls.config import storage_root
from airfleet_provider.contract import environment
from airfleet_provider.executors import disk_space

# While this file is there, the worker is drained; the folder is where it says how it stands.
LOOK_EVERY_S = 0.5
SIGN_EVERY = 10
# Releases that no task uses; not while a worker that starts is awaited.
TIDY_FIRST_S, TIDY_EVERY_S = 60.0, 3_600.0
log = logging.getLogger(__name__)


class WorkerDrain(bootsteps.StartStopStep):  # type: ignore[misc]
    """Stops and begins consuming as the file comes and goes; whatever runs is not touched."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: object) -> None:  # noqa: ANN401 - Celery has no types
        mark, notes = os.environ.get(environment.DRAINED), os.environ.get(environment.WORKERS)
        self.enabled = bool(mark and notes)
        if not mark or not notes:
            return
        self._mark = Path(mark)
        self._note = StateFile(Path(notes) / f"{self._mark.name}.json")
        self._queues = celery_worker.list_queues(consumer)
        self._is_full = False
        # On one machine the releaser has the same folders, and removes what nobody needs by itself.
        self._fetches = environment.RELEASES in os.environ
        self._tidier = unused_releases.Tidier()
        self._tidies_next = time.monotonic() + TIDY_FIRST_S
        self._timer: Any = None

    def include_if(self, _: Any) -> bool:  # noqa: ANN401
        return self.enabled

    def start(self, consumer: Any) -> None:  # noqa: ANN401
        """Runs again after each loss of the broker, before the first message can come."""
        self._look(consumer)
        self._timer = consumer.timer.call_repeatedly(LOOK_EVERY_S, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:  # noqa: ANN401
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, consumer: Any) -> None:  # noqa: ANN401
        is_drained = self._mark.exists()
        self._measure()
        celery_worker.consume(consumer, () if is_drained or self._is_full else self._queues, of=self._queues)
        tasks = celery_worker.list_tasks()
        if self._fetches and time.monotonic() > self._tidies_next:
            self._tidies_next = time.monotonic() + TIDY_EVERY_S
            self._tidier.begin(storage_root())
        words = describe(
            self._queues, celery_worker.count_slots(consumer), tasks, drained=is_drained, full=self._is_full
        )
        self._note.write({**words, "refused": getattr(consumer, "refused", 0)})

    def _measure(self) -> None:
        free = disk_space.measure(disk_space.find_folders())
        if disk_space.is_short(free, was_short=self._is_full) == self._is_full:
            return
        self._is_full = not self._is_full
        if self._is_full:
            log.error(
                "%d MiB of disk are free: it takes no tasks until there are %d", free >> 20, disk_space.ENOUGH >> 20
            )
        else:
            log.warning("%d MiB of disk are free: it takes tasks again", free >> 20)


class StateFile:
    """The file that says how a worker stands; its age says whether the worker lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""
        self._turns = 0

    def write(self, words: Mapping[str, object]) -> None:
        """Replace the file when something has changed, and else touch it from time to time."""
        text = json.dumps(words)
        self._turns += 1
        if text == self._last and self._turns < SIGN_EVERY:
            return
        with suppress(OSError):  # a full disk must not end the worker
            self._path.parent.mkdir(mode=0o755, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_text(text)
            new.replace(self._path)
            self._last, self._turns = text, 0


def describe(
    queues: Iterable[str], slots: int, tasks: Iterable[Mapping[str, object]], *, drained: bool, full: bool
) -> dict[str, object]:
    """What is written down: a worker has drained once nothing is left of what it took."""
    held = list(tasks)
    state = "draining" if drained and held else "drained" if drained else "full" if full else "serving"
    return {"state": state, "pid": os.getpid(), "queues": list(queues), "slots": slots, "tasks": held}
