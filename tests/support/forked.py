"""Runs work in a fork of the test's process, because the work changes its process: modules, signals, descriptors."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

from airfleet_provider.processes.lifecycle import die_with
from deadline import PATIENCE_S


def start_fork(work: Callable[[], object], *, timeout_s: int = int(PATIENCE_S)) -> int:
    """Return the pid of a fork that runs the work. It exits with 0, or with 1 if the work raises, and never returns.

    It dies with this process, and after `timeout_s`: work without an end would keep a CPU busy for ever.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with(parent)
        _end_after(timeout_s)
        work()
        code = 0
    except BaseException:  # above this frame is the runner of tests, which would run the others twice
        traceback.print_exc()
    finally:
        os._exit(code)


def run_forked(work: Callable[[], object], *, timeout_s: int = int(PATIENCE_S)) -> Any:  # noqa: ANN401 - JSON
    """Return the result of the work, which must be JSON. Raises AssertionError with its traceback if it fails.

    A fork has all that the test has imported, so it costs milliseconds where a new Python that imports Airflow takes
    seconds. Whoever needs a process that has imported nothing starts a Python.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _end_after(timeout_s)
        try:
            told = json.dumps({"returned": work()})
        except BaseException:  # the parent raises it
            told = json.dumps({"raised": traceback.format_exc()})
        with os.fdopen(writer, "w") as file:
            file.write(told)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    assert text, f"the fork ended with {os.waitstatus_to_exitcode(status)}"
    said = json.loads(text)
    assert "raised" not in said, said["raised"]
    return said["returned"]


def _end_after(seconds: int) -> None:
    # Airflow, which another test may have used in this process, leaves a handler that raises an error.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
