"""Real platforms, each on its own port in a folder of its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleets import Platform, end_everything


@contextlib.contextmanager
def make(name: str) -> Iterator[Platform]:
    # pytest's own temporary folders are closed to the user as which root runs PostgreSQL.
    with tempfile.TemporaryDirectory(prefix="airfleet-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        platform = Platform.create(Path(folder) / name)
        try:
            yield platform
        finally:
            platform.airfleet("down", "--now", check=False)
            end_everything(platform)


@pytest.fixture(scope="session")
def _shared() -> Iterator[Platform]:
    with make("shared") as platform:
        yield platform


@pytest.fixture
def platform(_shared: Platform) -> Platform:
    """The platform that the tests share, healthy; whoever stops it leaves the next start to the next test."""
    _shared.release()
    if not _shared.is_up():
        _shared.up()
    _shared.wait_healthy()
    return _shared


@pytest.fixture
def other() -> Iterator[Platform]:
    """A platform of the test's own that is not up yet."""
    with make("other") as platform:
        yield platform
