"""Drains a worker: it takes no new tasks while its drain file exists or its disk or memory is short.

It can be drained on the Fleet pages, too (ADR 97). The drain file, the state file and the file that keeps the drain of
the pages all outlast a restart of the worker.
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
from airfleet_provider.executors import disk_space, memory_pressure, slot_limit

# Seconds between two checks of the drain file and the disk, and the checks after which the state file is touched.
LOOK_EVERY_S = 0.5
SIGN_EVERY = 10
# Seconds until unused releases are removed for the first time, after the start is over, and then between removals.
TIDY_FIRST_S, TIDY_EVERY_S = 60.0, 3_600.0
# A worker of a pool that does not scale asks so seldom whether it is drained.
ASK_EVERY_S = 5.0
log = logging.getLogger(__name__)


class WorkerDrain(bootsteps.StartStopStep):  # type: ignore[misc]
    """Stops consuming while the drain file exists and resumes when it is gone; running tasks continue."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: object) -> None:  # noqa: ANN401 - Celery has no types
        mark, notes = os.environ.get(environment.DRAINED), os.environ.get(environment.WORKERS)
        self.enabled = bool(mark and notes)
        if not mark or not notes:
            return
        self._mark = Path(mark)
        self._note = StateFile(Path(notes) / f"{self._mark.name}.json")
        self._queues = celery_worker.list_queues(consumer)
        self._is_full = self._is_pressed = False
        # On one machine the releaser uses the same folders, and removes the unused releases.
        self._fetches = environment.RELEASES in os.environ
        self._tidier = unused_releases.Tidier()
        self._tidies_next = time.monotonic() + TIDY_FIRST_S
        self._timer: Any = None
        memory = Path(notes) / environment.name_page_drain(self._mark.name)
        scaling = slot_limit.SlotReports.start(os.environ.get(environment.SLOTS), memory)
        self._slots = slot_limit.SlotLimit(self._queues, scaling) if scaling else None
        self._reports = scaling or slot_limit.SlotReports.start(
            os.environ.get(environment.DRAINS), memory, least_s=ASK_EVERY_S
        )

    def include_if(self, _: Any) -> bool:  # noqa: ANN401
        return self.enabled

    def start(self, consumer: Any) -> None:  # noqa: ANN401
        """Start to check the drain file; Celery calls this after each connect, before the first message can arrive."""
        if self._slots:
            self._slots.forget()
        self._look(consumer)
        self._timer = consumer.timer.call_repeatedly(LOOK_EVERY_S, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:  # noqa: ANN401
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, consumer: Any) -> None:  # noqa: ANN401
        is_marked = self._mark.exists()
        is_drained = is_marked or bool(self._reports and self._reports.is_drained)
        self._measure()
        self._measure_memory()
        takes = not is_drained and not self._is_full and not self._is_pressed
        slots = celery_worker.count_slots(consumer)
        if self._slots:
            slots = self._slots.apply(consumer, slots, takes=takes, marked=is_marked)
        else:
            celery_worker.consume(consumer, self._queues if takes else (), of=self._queues)
            if self._reports:
                held = len(celery_worker.list_held())
                self._reports.report = slot_limit.SlotReport(held, slots, takes, is_marked)
        tasks = celery_worker.list_tasks()
        if self._fetches and time.monotonic() > self._tidies_next:
            self._tidies_next = time.monotonic() + TIDY_EVERY_S
            self._tidier.begin(storage_root())
        words = describe(self._queues, slots, tasks, drained=is_drained, full=self._is_full, pressed=self._is_pressed)
        by_page = bool(self._reports and self._reports.is_drained)
        self._note.write({**words, "refused": getattr(consumer, "refused", 0), "by_page": by_page})

    def _measure(self) -> None:
        free = disk_space.measure(disk_space.find_folders())
        if disk_space.is_short(free, was_short=self._is_full) == self._is_full:
            return
        self._is_full = not self._is_full
        if self._is_full:
            log.error(
                "%d MiB of disk are free: the worker takes no tasks until %d MiB are free",
                free >> 20,
                disk_space.ENOUGH >> 20,
            )
        else:
            log.warning("%d MiB of disk are free: the worker takes tasks again", free >> 20)

    def _measure_memory(self) -> None:
        # One machine is somebody's laptop: other programs make it short of memory, and its only worker must go on.
        if not self._fetches:
            return
        is_pressed = memory_pressure.is_short(memory_pressure.measure(), was_short=self._is_pressed)
        if is_pressed != self._is_pressed:
            self._is_pressed = is_pressed
            log.warning(
                "Memory is %s: the worker takes %s",
                *(("short", "no tasks") if is_pressed else ("there", "tasks again")),
            )


class StateFile:
    """The file with the state of a worker; its age shows whether the worker lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""
        self._turns = 0

    def write(self, words: Mapping[str, object]) -> None:
        """Replace the file if the state has changed, and otherwise every `SIGN_EVERY` calls to renew its age."""
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
    queues: Iterable[str],
    slots: int,
    tasks: Iterable[Mapping[str, object]],
    *,
    drained: bool,
    full: bool,
    pressed: bool = False,
) -> dict[str, object]:
    """Return the content of the state file; a worker has drained when none of its tasks is left."""
    held = list(tasks)
    state = "draining" if drained and held else "drained" if drained else ""
    state = state or ("full" if full else "pressed" if pressed else "serving")
    return {"state": state, "pid": os.getpid(), "queues": list(queues), "slots": slots, "tasks": held}
