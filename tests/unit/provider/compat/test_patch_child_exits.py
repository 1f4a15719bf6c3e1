"""A supervisor of Airflow's hears of the end of its child at once."""

from __future__ import annotations

import os
import time
from uuid import uuid4

from airflow.sdk.execution_time.supervisor import WatchedSubprocess

from airfleet_provider.compat.patches.child_exits import notice_exits
from forked import run_forked

LATER_S = 0.5  # the end comes that long after the last word, so that a supervisor has begun to wait again


def end_after_its_sockets() -> None:
    os.closerange(0, 256)
    time.sleep(LATER_S)
    os._exit(7)


def supervise() -> list[object]:
    notice_exits()
    notice_exits()
    watched = WatchedSubprocess.start(id=uuid4(), target=end_after_its_sockets)
    begun = time.monotonic()
    while watched._exit_code is None:
        watched._service_subprocess(max_wait_time=60)
    return [watched._exit_code, time.monotonic() - begun < 30, len(watched.selector.get_map())]


def test_an_end_that_comes_after_the_last_word_is_heard() -> None:
    assert run_forked(supervise) == [7, True, 0]
