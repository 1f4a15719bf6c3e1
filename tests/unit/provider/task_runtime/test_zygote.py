"""A warm process and the tasks that it forks, without Airflow's part of them."""

from __future__ import annotations

import socket

import pytest

from airfleet_provider.compat.patches import task_start
from airfleet_provider.processes import fd_messages
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.task_runtime.zygote import Loaded, Zygote


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
