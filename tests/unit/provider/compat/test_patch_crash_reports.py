"""A process that has loaded a Dag file and then crashes ends at once, and says where."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from airflow.dag_processing.dagbag import BundleDagBag

from airfleet_provider.compat.patches import crash_reports
from airfleet_provider.compat.patches.crash_reports import Stack
from forked import run_forked

SMALL = """
from airflow.sdk import dag, task

@dag(schedule=None)
def small():
    @task
    def work(): ...
    work()

small()
"""


def send(name: str) -> None:
    os.kill(os.getpid(), signal.Signals[name])


def read_nowhere() -> None:
    ctypes.string_at(0)


def give_up() -> None:
    os.abort()


WAYS: dict[str, Callable[[], None]] = {
    "SIGSEGV": read_nowhere,
    "SIGABRT": give_up,
    **{name: partial(send, name) for name in ("SIGILL", "SIGBUS", "SIGFPE")},
}


def crash_each(folder: Path) -> dict[str, int]:
    """How each crash ended a fork of a process that has loaded a Dag file, as tasks of a warm process are."""
    crash_reports.end_on_crash()
    bag = BundleDagBag(dag_folder=str(folder / "small.py"), bundle_path=folder, bundle_name="b", safe_mode=False)
    assert list(bag.dags) == ["small"], bag.import_errors
    ended = {}
    for name, crash in WAYS.items():
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), 2)
            crash()
            os._exit(0)
        ended[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return ended


def test_every_crash_ends_the_process_and_tells_the_function(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL)
    ended = run_forked(lambda: crash_each(tmp_path))
    assert ended == {name: -signal.Signals[name] for name in ended}
    assert len(ended) == 5
    places = {"SIGSEGV": "string_at (", "SIGABRT": "give_up ("}
    for name in ended:
        stack = Stack()
        for line in (tmp_path / name).read_bytes().splitlines():
            stack.hear(line)
        assert stack.place.startswith(places.get(name, "send (")), (tmp_path / name).read_text()


def test_what_a_task_writes_as_its_stack_stays_one_short_line() -> None:
    stack = Stack()
    stack.hear(b"Current thread 0x00007f00 (most recent call first):")
    stack.hear(b'  File "' + b"x" * 9000 + b'\x1b[2J\r.py", line 7 in work')
    assert stack.place.startswith("work (")
    assert len(stack.place) < 300
    assert stack.place.isprintable()
    quiet = Stack()
    quiet.hear(b'  File "x.py", line 1 in work')
    assert quiet.place == ""
