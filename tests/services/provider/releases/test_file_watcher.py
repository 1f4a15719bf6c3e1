"""The watcher tells of what is saved, not of what editors and Python leave beside it, and survives its folders."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from airfleet_provider.releases.file_watcher import FileWatcher
from deadline import PATIENCE_S, wait_until
from living import send

QUIET_S = 0.7


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags" / "team").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def others() -> list[psutil.Process]:
    """The child processes that this process had before."""
    return psutil.Process().children()


def find_own(others: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child not in others]


@pytest.fixture
def watcher(project: Path, others: list[psutil.Process]) -> Iterator[FileWatcher]:
    watcher = FileWatcher(project, ("dags", "include"))
    watcher.start()
    assert is_told(watcher)  # it has begun
    settle(watcher)
    yield watcher
    own = find_own(others)
    send(own, signal.SIGKILL)
    psutil.wait_procs(own)


def is_told(watcher: FileWatcher, timeout_s: float = PATIENCE_S) -> bool:
    """Return whether it tells something in time."""
    return bool(select.select([watcher], [], [], timeout_s)[0])


def wait_told(watcher: FileWatcher, save: Callable[[], object]) -> None:
    """Save until the watcher tells of it. On a busy machine it may begin to watch after the first time."""

    def look() -> bool:
        save()
        return is_told(watcher, QUIET_S)

    wait_until(look, "news of what is saved")


def settle(watcher: FileWatcher) -> None:
    """Take all that it tells, until it has been quiet for a while."""
    while is_told(watcher, QUIET_S):
        assert watcher.drain()


@pytest.mark.parametrize("name", ["dags/x.py", "dags/team/x.sql", "requirements.txt"])
def test_a_saved_file_is_told(watcher: FileWatcher, project: Path, name: str) -> None:
    wait_told(watcher, lambda: (project / name).write_text("new"))


def test_a_file_saved_by_renaming_is_told(watcher: FileWatcher, project: Path) -> None:
    def save() -> None:
        (project / "dags" / "x.py~").write_text("new")
        (project / "dags" / "x.py~").rename(project / "dags" / "x.py")

    wait_told(watcher, save)


def test_what_editors_and_python_leave_is_not_told(watcher: FileWatcher, project: Path) -> None:
    for name in (".x.py.swp", "x.py~", "4913", "#x.py#", "x.cpython-311.pyc", "x.py___jb_tmp___"):
        (project / "dags" / name).write_text("noise")
    assert not is_told(watcher, QUIET_S)


def test_folders_may_come_and_go(watcher: FileWatcher, project: Path) -> None:
    (project / "include").mkdir()
    assert is_told(watcher)
    settle(watcher)
    wait_told(watcher, lambda: (project / "include" / "x.py").write_text("new"))
    settle(watcher)
    (project / "include").rename(project / "away")
    assert is_told(watcher)
    settle(watcher)
    wait_told(watcher, lambda: (project / "dags" / "x.py").write_text("new"))


def test_a_watcher_that_dies_is_noticed(watcher: FileWatcher, others: list[psutil.Process]) -> None:
    (child,) = find_own(others)
    os.kill(child.pid, signal.SIGKILL)
    assert is_told(watcher)
    assert not watcher.drain()
