"""Searches in the logs from the Fleet pages, one at a time."""

from __future__ import annotations

from contextlib import suppress

import pytest

from airfleet_provider.console.log_desk import MOST_WAITING, LogDesk, LogDeskBusyError
from airfleet_provider.log_index.store import LogQuery


def test_few_wait_for_a_search_and_the_others_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = LogDesk(lambda: None)
    waiting = 0

    class BusyLock:
        """Another search goes on, and while somebody waits for its end, the next one comes."""

        def acquire(self, timeout: float) -> bool:
            nonlocal waiting
            waiting += 1
            if waiting < 40:
                with suppress(LogDeskBusyError):
                    desk.search(LogQuery(), 1)
            return False

    with monkeypatch.context() as patched:
        patched.setattr(desk, "_lock", BusyLock())
        with pytest.raises(LogDeskBusyError):
            desk.search(LogQuery(), 1)
    assert waiting == 1 + MOST_WAITING
    assert desk.search(LogQuery(), 1) is None, "all places are free again"
