"""A process that has imported Airflow, and forks Airflow's commands from itself as the image of a platform does.

A new Python takes some seconds of CPU until it has imported Airflow. Tests with a database of their own start a
releaser for each of them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from airfleet.components import releaser
from deadline import PATIENCE_S

PROGRAM = """
import ctypes, json, os, signal, sys, traceback

import airflow.settings
from airflow.__main__ import main
from airfleet_provider.processes.fork_server import import_modules

PR_SET_PDEATHSIG = 1


def run(order):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    airflow.settings.initialize()
    sys.argv = ["airflow", *order["words"]]
    main()


import_modules(json.loads(sys.argv[1]))
airflow.settings.dispose_orm(do_log=False)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps what ends
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(json.loads(line))
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else bool(end.code)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code or 0)
    print(child, flush=True)
"""
COMMON = ("airflow.cli.cli_parser", "airflow.models:import_all_models", "sqlalchemy.orm:configure_mappers")


@dataclass(frozen=True)
class ForkedCommand:
    """A command that the image runs. It ends with the image at the latest."""

    process: psutil.Process

    def kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.kill()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end. Raises psutil.TimeoutExpired if it has not ended by then."""
        self.process.wait(timeout_s)

    def is_running(self) -> bool:
        return self.process.is_running()


@dataclass(frozen=True)
class AirflowImage:
    """An image that waits for orders on its standard input."""

    process: subprocess.Popen[str]

    def run(self, *words: str, environment: Mapping[str, str], folder: Path, log: Path) -> ForkedCommand:
        """Run `airflow` with these words, this environment and this folder; it writes to the log."""
        order = {"words": words, "environment": dict(environment), "folder": str(folder), "log": str(log)}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{json.dumps(order)}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the image has ended with {self.process.wait(PATIENCE_S)}"
        return ForkedCommand(psutil.Process(int(answer)))


@contextlib.contextmanager
def serve(environment: Mapping[str, str], folder: Path) -> Iterator[AirflowImage]:
    """Start an image, which ends with the context. Its commands need the settings of this environment at least."""
    preload = [*COMMON, *releaser.describe().processes[0].preload]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(preload)],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield AirflowImage(process)
        finally:
            process.kill()
