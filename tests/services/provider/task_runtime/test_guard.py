"""A guard that is killed with its keeper is started again, and hears what supervisors asked meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from deadline import COMMAND_S

EXECUTOR = """
import json, os, signal, socket, sys, time
import psutil
from pathlib import Path
from airfleet_provider.processes import fd_messages
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.task_runtime.eviction import ZygoteLimits
from airfleet_provider.task_runtime.guard import RESTART_S, Guard

guard = Guard.start(ZygoteLimits())
killed = psutil.Process(guard.pid)
family = [killed, *killed.children(recursive=True)]
for one in family:
    one.kill()
ours, theirs = fd_messages.pair()
fillers = [fd_messages.pair()[0] for _ in range(fd_messages.TASK_DESCRIPTORS - 1)]
order = {"bundle": "no such bundle", "version": None, "path": "x.py"}
with socket.socket(fileno=os.dup(guard.channel)) as channel:
    fd_messages.send(channel, order, [*(one.fileno() for one in fillers), theirs.fileno()])
theirs.close()
deadline = time.monotonic() + 280
while guard.pid == killed.pid and time.monotonic() < deadline:
    guard.revive()
    time.sleep(0.05)
assert guard.pid != killed.pid
revived = psutil.Process(guard.pid)
environment = revived.environ()
assert wait_readable([ours], 280), "nobody heard the request"
answer, _ = fd_messages.receive(ours)
guard.revive()
said = {"answer": answer, "pid": guard.pid == revived.pid, "variable": fd_messages.CHANNEL_VARIABLE in environment}
Path(sys.argv[1]).write_text(json.dumps(said))
"""


def test_it_hears_what_was_asked_while_there_was_none(tmp_path: Path) -> None:
    # Where an executor runs there may be any module.
    for name in ("json", "airfleet_provider"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLEET_STATE": str(tmp_path),
        "AIRFLEET_KEEPER_FD": "99",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", EXECUTOR, str(tmp_path / "said")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
        timeout=COMMAND_S,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "said").read_text())
    assert "no such bundle" in said["answer"]["refused"]
    assert said["pid"] is True
    assert said["variable"] is False
    reasons = json.loads((tmp_path / "fallbacks" / "warm-keeper.json").read_text())
    assert "the guard of warm processes ended and was started again" in reasons
