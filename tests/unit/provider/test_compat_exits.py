"""A supervisor of Airflow's hears of the end of its child at once."""

from __future__ import annotations

import os
import subprocess
import sys

CHILD = """
import os, time
from uuid import uuid4
from airfleet_provider.compat.exits import notice_exits
from airflow.sdk.execution_time.supervisor import WatchedSubprocess

notice_exits()
notice_exits()

def end_after_its_sockets():
    for descriptor in range(256):
        try: os.close(descriptor)
        except OSError: pass
    time.sleep(0.5)
    os._exit(7)

watched = WatchedSubprocess.start(id=uuid4(), target=end_after_its_sockets)
begun = time.monotonic()
while watched._exit_code is None:
    watched._service_subprocess(max_wait_time=60)
print(watched._exit_code, time.monotonic() - begun < 30, len(watched.selector.get_map()))
"""


def test_an_end_that_comes_after_the_last_word_is_heard(tmp_path: object) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, env=environment, check=False, timeout=90
    )
    assert done.stdout.splitlines()[-1:] == ["7 True 0"], done.stderr
