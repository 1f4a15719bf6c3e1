"""Read what a platform does now, again and again, from its database and its workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from airfleet.errors import AirfleetError
from airfleet.operations import explanation
from airfleet.operations.explanation import ReadablePlatform
from airfleet_provider.contract import overview
from airfleet_provider.contract.explanation.facts import WorkerState
from airfleet_provider.contract.overview import Overview

# Seconds to wait for the first answer of the workers, and between two of them.
FIRST_S, WORKERS_EVERY_S = 5.0, 5.0


@contextmanager
def watch(place: ReadablePlatform) -> Iterator[Callable[[], Overview]]:
    """Yield a function that reads what the platform does now.

    Workers of a fleet are asked over SSH in a thread of their own, so that a host that hangs does not stop the rest.

    Raises:
        AirfleetError: No platform runs there, or its database does not answer. The function raises it too.
    """
    with ExitStack() as stack:
        database = stack.enter_context(explanation.open_database(place))
        workers = _Workers(place)
        if place.executor == "celery":
            workers.start()
            stack.callback(workers.stop)

        def read() -> Overview:
            with database.take() as query:
                found = overview.read(query)
            platform = replace(found.platform, executor=place.executor, parallelism=place.parallelism)
            return replace(found, platform=platform, workers=workers.read())

        yield read


class _Workers:
    """The last known state of the workers, read in a thread."""

    def __init__(self, place: ReadablePlatform) -> None:
        self._place = place
        self._states: tuple[WorkerState, ...] | None = None
        self._is_read, self._ends = threading.Event(), threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._keep_reading, name="workers", daemon=True).start()

    def stop(self) -> None:
        self._ends.set()

    def read(self) -> tuple[WorkerState, ...] | None:
        if self._place.executor == "celery":
            self._is_read.wait(FIRST_S)
        return self._states

    def _keep_reading(self) -> None:
        try:
            with ExitStack() as stack:
                read = explanation.open_workers(stack, self._place)
                while not self._ends.is_set():
                    self._states = read()
                    self._is_read.set()
                    self._ends.wait(WORKERS_EVERY_S)
        except AirfleetError:  # then the screen shows no workers
            self._states = None
        finally:
            self._is_read.set()
