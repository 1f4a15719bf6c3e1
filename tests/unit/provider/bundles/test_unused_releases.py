"""Which releases a worker host drops: those that no task uses, and never one that somebody is about to use."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from airfleet_provider.bundles import release_files, unused_releases
from airfleet_provider.contract import release_archive

DAY = 86_400.0
NOW = 1_000 * DAY


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


def hold(storage: Path, name: str, *, days: float) -> Path:
    """A release on this host on which a task last began so many days ago."""
    folder = storage / "shop" / "versions" / name
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "x.py").touch()
    mark = folder / release_archive.MARK
    mark.parent.mkdir()
    mark.touch()
    os.utime(mark, (NOW - days * DAY,) * 2)
    return folder


def list_held(storage: Path) -> set[str]:
    return {path.name for path in (storage / "shop" / "versions").iterdir()}


def test_what_no_task_used_for_days_goes_but_for_the_last_ones(storage: Path) -> None:
    for number, days in enumerate((40, 30, 4, 3.5, 1)):
        hold(storage, f"r{number}", days=days)
    assert sorted(unused_releases.tidy(storage, NOW)) == ["r0", "r1", "r2"]
    assert list_held(storage) == {"r3", "r4"}
    assert unused_releases.tidy(storage, NOW + 30 * DAY) == [], "the last two stay"


def test_the_live_one_and_those_that_tasks_run_on_stay(storage: Path) -> None:
    for name in ("r0", "r1", "r2", "r3"):
        hold(storage, name, days=40)
    for name in ("r4", "r5"):
        hold(storage, name, days=1)
    release_files.point(storage / "shop", "r0")
    tracking = storage / "_tracking" / "shop"
    tracking.mkdir(parents=True)
    for name in ("r1", "r2"):
        (tracking / name).touch()
        os.utime(tracking / name, (NOW - 40 * DAY,) * 2)
    with (tracking / "r1").open() as running:
        fcntl.flock(running, fcntl.LOCK_SH)  # as Airflow holds it while a task runs, for weeks if need be
        assert sorted(unused_releases.tidy(storage, NOW)) == ["r2", "r3"]
    assert list_held(storage) == {"r0", "r1", "r4", "r5"}
    assert {path.name for path in tracking.iterdir()} == {"r1"}


def test_a_release_that_a_task_begins_to_use_at_that_moment_stays(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hold(storage, "r0", days=40)
    for name in ("r1", "r2"):
        hold(storage, name, days=1)

    def begin(_: Path) -> bool:
        assert release_archive.use(folder)
        return False

    monkeypatch.setattr(unused_releases, "_is_running", begin)
    assert unused_releases.tidy(storage, NOW) == []
    assert (folder / "dags" / "x.py").is_file()


def test_the_workers_of_two_pools_clear_the_same_folders(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, days in (("r0", 40), ("r1", 30), ("r2", 1), ("r3", 1)):
        hold(storage, name, days=days)
    other = {"r1"}

    def is_running(tracking: Path) -> bool:
        if tracking.name in other:
            release_archive.discard(storage / "shop" / "versions" / tracking.name)
        return False

    monkeypatch.setattr(unused_releases, "_is_running", is_running)
    assert unused_releases.tidy(storage, NOW) == ["r0"]
    assert list_held(storage) == {"r2", "r3"}


def test_half_made_copies_go_after_a_day(storage: Path) -> None:
    versions = hold(storage, "r0", days=1).parent
    for name, days in ((".r7.abc", 2), (".r8.def", 0.5)):
        (versions / name).mkdir()
        os.utime(versions / name, (NOW - days * DAY,) * 2)
    unused_releases.tidy(storage, NOW)
    assert list_held(storage) == {"r0", ".r8.def"}


def test_a_storage_without_releases_is_no_error(storage: Path) -> None:
    assert unused_releases.tidy(storage, NOW) == []
