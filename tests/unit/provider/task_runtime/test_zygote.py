"""A warm process and the tasks that it forks, without Airflow's part of them."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from airfleet_provider.compat.patches import crash_reports, task_start
from airfleet_provider.processes import fd_messages
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.task_runtime import zygote
from airfleet_provider.task_runtime.pool_key import PoolKey
from airfleet_provider.task_runtime.zygote import Loaded, NotSharedError, Zygote


def test_a_task_that_cannot_begin_says_why_in_its_own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("this task has no room to begin")

    monkeypatch.setattr(task_start, "run_task", fail)
    keeper, control = fd_messages.pair()
    streams = [socket.socketpair() for _ in range(fd_messages.TASK_DESCRIPTORS - 1)]
    supervisor, status = fd_messages.pair()
    fd_messages.send(keeper, {}, [*(theirs.fileno() for _, theirs in streams), status.fileno()])
    keeper.close()  # it serves its one task to the end
    for _, theirs in streams:
        theirs.close()
    status.close()
    Zygote(control, Loaded(None, [])).serve()
    stderr = streams[2][0]
    assert wait_readable([stderr], 60)
    assert "RuntimeError: this task has no room to begin" in stderr.recv(1 << 16).decode()
    assert "pid" in (fd_messages.receive(supervisor)[0] or {})
    assert fd_messages.receive(supervisor)[0] == {"exit": 124}


def test_a_reason_that_a_dag_file_makes_long_reaches_the_pool_and_each_supervisor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: object) -> Loaded:
        raise NotSharedError(f"loading it reads the variable {'x' * 300_000}")

    monkeypatch.setattr(zygote, "load", load)
    monkeypatch.setattr(crash_reports, "end_on_crash", lambda: None)
    keeper, control = fd_messages.pair()
    supervisor, status = fd_messages.pair()
    null = os.open(os.devnull, os.O_RDWR)
    thread = threading.Thread(target=zygote.run, args=(PoolKey("b", "r", "dags/a.py"), control, null), daemon=True)
    thread.start()
    told, _ = fd_messages.receive(keeper)
    assert str((told or {})["refused"]).startswith("loading it reads the variable xxx")
    fd_messages.send(keeper, {}, [*[null] * (fd_messages.TASK_DESCRIPTORS - 1), status.fileno()])
    answer, _ = fd_messages.receive(supervisor)
    assert answer == {"refused": (told or {})["refused"]}
    keeper.close()
    thread.join(60)
    os.close(null)
