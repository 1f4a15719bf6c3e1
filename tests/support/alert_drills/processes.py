"""Faults of processes: of Airflow's components, of the agents, and of what watches them."""

from __future__ import annotations

import ctypes
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from alert_drills.drill import Drill
from alert_drills.local_bed import LocalBed

EXECUTION_REQUESTS = 60
# adjtimex(2).
SET_STATUS, SET_ERROR, UNSYNCHRONISED = 0x10, 0x04, 0x40


def freeze_schedulers(bed: LocalBed) -> Iterator[None]:
    with bed.frozen(*bed.schedulers):
        yield


def freeze_triggerer(bed: LocalBed) -> Iterator[None]:
    with bed.frozen("triggerer"):
        yield


def freeze_api_server(bed: LocalBed) -> Iterator[None]:
    with bed.frozen("api-server"):
        yield


def kill_scheduler_often(bed: LocalBed) -> Iterator[None]:
    for _ in range(5):
        name, epoch = bed.find_active_scheduler()
        bed.signal(name, signal.SIGKILL)
        bed.wait(lambda epoch=epoch: bed.find_active_scheduler()[1] > epoch, "the other scheduler")  # type: ignore[misc]
    yield


def freeze_execution_api(bed: LocalBed) -> Iterator[None]:
    with bed.frozen("execution-api"):
        for _ in range(EXECUTION_REQUESTS):
            ask(bed)
        yield


def ask(bed: LocalBed) -> None:
    """Send a request to the execution API by way of HAProxy, whatever it answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{bed.proxy_port}/execution/health", timeout=20):
            pass
    except (urllib.error.URLError, OSError):
        time.sleep(0.1)


def freeze_log_agent(bed: LocalBed) -> Iterator[None]:
    with bed.frozen("log-agent"):
        yield


def lock_positions(bed: LocalBed) -> Iterator[None]:
    positions = sqlite3.connect(bed.platform.state.root / "log-agent" / "positions.sqlite", isolation_level=None)
    bed.wait(lambda: lock(positions), "the lock of the positions")
    try:
        yield
    finally:
        positions.close()


def lock(positions: sqlite3.Connection) -> bool:
    try:
        positions.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return False
    return True


def keep_prometheus_down(bed: LocalBed) -> Iterator[None]:
    with bed.kept_down("prometheus"):
        yield


def keep_alertmanager_down(bed: LocalBed) -> Iterator[None]:
    with bed.kept_down("alertmanager"):
        yield


def change_token(bed: LocalBed) -> Iterator[None]:
    token = bed.monitor / "token"
    right = token.read_text()
    token.write_text("another")
    # A new alert, as nothing fails while there is nothing to hand over.
    with bed.frozen("triggerer"):
        try:
            yield
        finally:
            token.write_text(right)


def break_config(bed: LocalBed) -> Iterator[None]:
    path = bed.monitor / "prometheus.yml"
    right = path.read_text()
    path.write_text(f"{right}\nan edit by hand\n")
    bed.reload_prometheus()
    try:
        yield
    finally:
        path.write_text(right)
        bed.reload_prometheus()


def keep_clock(bed: LocalBed) -> None:
    """Tell the kernel that its clock is right, as a time service does. Its time stays as it is."""
    adjust_clock(status=0)


def lose_clock(bed: LocalBed) -> Iterator[None]:
    adjust_clock(status=UNSYNCHRONISED)
    try:
        yield
    finally:
        keep_clock(bed)


def adjust_clock(*, status: int) -> None:
    """Set the status of the kernel's clock, and an error of one microsecond."""
    words = Clock(modes=SET_STATUS | SET_ERROR, status=status, error=1)
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(words)) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")


class Clock(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2))."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("error", ctypes.c_long),
        ("estimate", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 200),
    )


COMPONENTS = (
    (
        Drill(
            ("SchedulerDown", "SchedulerUnavailable (critical)"),
            "both schedulers were stopped with SIGSTOP",
            freeze_schedulers,
        ),
        Drill(("ComponentSilent",), "the triggerer was stopped with SIGSTOP", freeze_triggerer),
        Drill(("ComponentDown",), "the API server was stopped with SIGSTOP", freeze_api_server),
    ),
    (
        Drill(
            ("WebHostsUnreachable", "ExecutionApiErrors (critical)"),
            "the execution API was stopped with SIGSTOP, and requests came by way of a real HAProxy",
            freeze_execution_api,
        ),
        Drill(("FailoversRepeat",), "the active scheduler was killed five times", kill_scheduler_often),
    ),
)
CLOCK = (
    (
        Drill(
            ("ClockWrong",),
            "the kernel was told that nothing keeps its clock right any more",
            lose_clock,
            before=keep_clock,
        ),
    ),
)
WATCHING = (
    (
        Drill(("ExporterDown",), "the log agent was stopped with SIGSTOP", freeze_log_agent),
        Drill(("RulesFail",), "prometheus.yml was edited by hand, and is no YAML any more", break_config),
    ),
    (Drill(("LogsNotTaken",), "another process held the lock of the log agent's positions", lock_positions),),
    (
        Drill(
            ("MonitoringSilent",),
            "Prometheus was killed again and again",
            keep_prometheus_down,
            is_of_agents=True,
        ),
    ),
    (
        Drill(
            ("AlertsNotDelivered",),
            "the token of the agents was changed on the side of Alertmanager",
            change_token,
            is_late=True,
            reported_as="MonitoringSilent",
        ),
    ),
    (
        Drill(
            ("AlertmanagerUnreachable",),
            "the only Alertmanager was killed again and again",
            keep_alertmanager_down,
            is_late=True,
            reported_as="MonitoringSilent",
        ),
    ),
)
