"""Faults of tasks, queues, slot pools, Dags and services."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from alert_drills.drill import Drill
from alert_drills.local_bed import LocalBed

# More than the limit of series of `airfleet_pool_slots`.
POOLS = 90
LATE_S = 8.0


def drain_workers(bed: LocalBed) -> Iterator[None]:
    bed.platform.airfleet("workers", "drain", "localhost")
    try:
        bed.platform.trigger("quick")
        yield
    finally:
        bed.platform.airfleet("workers", "resume", "localhost")


def start_in_time(bed: LocalBed) -> None:
    """Let the counters of starts be there: Prometheus takes the first value of a counter for no growth."""
    assert bed.platform.succeeds("quick")
    bed.wait(lambda: bed.query("sum(airfleet_task_start_seconds_count) > 0") is not None, "a start is counted")


def start_late(bed: LocalBed) -> Iterator[None]:
    with bed.frozen("worker"):
        bed.platform.trigger("quick")
        time.sleep(LATE_S)
    yield


def fill_pool(bed: LocalBed) -> Iterator[None]:
    hold = bed.platform.project / "hold"
    hold.touch()
    try:
        bed.platform.trigger("holds")
        yield
    finally:
        hold.unlink()


def fail_tasks(bed: LocalBed) -> Iterator[None]:
    broken = bed.platform.project / "broken"
    broken.touch()
    bed.platform.trigger("fails")
    try:
        yield
    finally:
        broken.unlink()
        bed.platform.trigger("fails")


@contextlib.contextmanager
def broken_file(bed: LocalBed, name: str) -> Iterator[None]:
    path = bed.platform.project / "dags" / name
    right = path.read_text()
    path.write_text(f"{right}\nimport a_package_that_is_missing\n")
    try:
        yield
    finally:
        path.write_text(right)


def break_one_file(bed: LocalBed) -> Iterator[None]:
    with broken_file(bed, "one.py"):
        yield


def break_many_files(bed: LocalBed) -> Iterator[None]:
    with broken_file(bed, "many.py"):
        yield


def take_service_away(bed: LocalBed) -> Iterator[None]:
    bed.platform.trigger("calls")
    yield
    server = ThreadingHTTPServer(("127.0.0.1", bed.service_port), _Service)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        pass


def make_many_pools(bed: LocalBed) -> Iterator[None]:
    with bed.connect() as connection:
        for number in range(POOLS):
            connection.execute(
                "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES (%s, 1, false)", (f"customer{number}",)
            )
    try:
        yield
    finally:
        bed.execute("DELETE FROM slot_pool WHERE pool LIKE 'customer%'")


TASKS = (
    (
        Drill(
            ("DagImportErrors", "DagDidNotRun"),
            "a Dag that runs each minute got an import of a package that is missing",
            break_one_file,
        ),
        Drill(("BreakerOpen",), "the service that tasks call was away", take_service_away),
        Drill(("SlotPoolFull",), "three tasks shared a slot pool with one slot, and did not end", fill_pool),
        Drill(("TasksFail",), "a task of a Dag failed 24 times in one run", fail_tasks),
        Drill(("MetricsDropped",), "90 slot pools were made, one for each customer", make_many_pools),
    ),
)
QUEUES = (
    (
        Drill(
            ("TasksStartLate (critical)",),
            "the worker was stopped for 8 s while 24 tasks waited",
            start_late,
            before=start_in_time,
        ),
    ),
    (
        Drill(("QueueWithoutWorkers", "QueueStuck"), "the only worker was drained", drain_workers),
        Drill(
            ("DagsDidNotRun",),
            "twelve Dags that run each minute got an import of a package that is missing",
            break_many_files,
        ),
    ),
)
AGENTS = (
    (
        Drill(("DagRunFailed",), "a Dag run failed", fail_tasks, is_of_agents=True),
        Drill(("SlaNotMet",), "a Dag run took longer than was promised", fill_pool, is_of_agents=True),
    ),
)
