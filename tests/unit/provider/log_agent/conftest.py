"""A host with logs, whose agent a test calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from log_hosts import LogHost


@pytest.fixture
def host(tmp_path: Path) -> LogHost:
    return LogHost(tmp_path)
