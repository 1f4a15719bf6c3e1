"""What holds for all unit tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quick_writes() -> Iterator[None]:
    """Let no write wait for the disk: nothing cuts the power here. A test about fsync puts its own in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
