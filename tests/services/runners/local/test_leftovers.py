"""A folder finds what is left of its own platform, and nothing of the platform whose folder it is a copy of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet.runners.local import leftovers
from airfleet.runners.local.processes import INSTANCE_VARIABLE
from airfleet.runners.local.usage import read_start_s
from airfleet.workspace.state_folder import Snapshot, StateFolder

PROGRAM = """
import sys, time
from pathlib import Path
from airfleet_provider.contract import session_notes
if sys.argv[1:]:
    session_notes.write(Path(sys.argv[1]), "scheduler")
print("up", flush=True)
time.sleep(600)
"""


class Platform:
    """A state folder, a supervisor, and a process of each kind that the supervisor would leave."""

    def __init__(self, root: Path) -> None:
        self.folder = StateFolder(root)
        self.folder.create()
        self.folder.read_instance(airflow="3.3.2", postgres="18")
        self.supervisor = self._start()
        self.left = [
            self._start(env={**os.environ, INSTANCE_VARIABLE: self.folder.name_processes()}),
            self._start(str(self.folder.sessions)),
        ]
        started = read_start_s(self.supervisor.pid) or 0.0
        self.folder.write_snapshot(Snapshot("f", "p", self.supervisor.pid, started, "healthy", "", time.time(), (), ()))

    def _start(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True, env=env)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    def end(self) -> None:
        for process in (self.supervisor, *self.left):
            process.kill()
            process.communicate()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    one = Platform(tmp_path / "one")
    try:
        yield one
    finally:
        one.end()


def test_all_that_a_killed_supervisor_has_left_is_found(platform: Platform) -> None:
    platform.supervisor.kill()
    platform.supervisor.wait()
    assert {one.pid for one in leftovers.find(platform.folder)} == {one.pid for one in platform.left}


def test_a_copy_of_a_folder_ends_nothing_of_the_platform_that_runs(platform: Platform, tmp_path: Path) -> None:
    shutil.copytree(platform.folder.root, tmp_path / "two")
    copy = StateFolder(tmp_path / "two")
    assert leftovers.find(copy) == []
