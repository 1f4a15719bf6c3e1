"""A warm process and the tasks that it forks, without Airflow's part of them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet_provider.compat.patches import crash_reports, task_start
from airfleet_provider.processes import fd_messages
from airfleet_provider.processes.memory_group import find_group
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.task_runtime import zygote
from airfleet_provider.task_runtime.pool_key import PoolKey
from airfleet_provider.task_runtime.zygote import Loaded, NotSharedError, Zygote
from deadline import wait_until
from forked import start_fork


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
    told = fd_messages.receive(supervisor)[0] or {}
    assert told["exit"] == 124
    assert told["used"]["memory"] > 1 << 20
    assert told["used"]["cpu_s"] >= 0


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


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A cgroup with 96 MiB of memory, for a process that writes its pid into its file `cgroup.procs`."""
    own = find_group()
    folder = own.events.parent / f"airfleet-test-{os.getpid()}" if own else None
    if own is None or folder is None or own.limit.name != "memory.limit_in_bytes":
        pytest.skip("no memory cgroup of version 1 here")
    try:
        folder.mkdir()
        (folder / own.limit.name).write_text(str(96 << 20))
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error.strerror}")
    yield folder
    wait_until(lambda: not (folder / "cgroup.procs").read_text(), "the end of the group's processes")
    folder.rmdir()


def test_a_task_that_the_kernel_killed_for_want_of_memory_is_told_from_the_counter(
    small_group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_start, "run_task", lambda *_: [bytearray(1 << 20) for _ in range(1000)])
    keeper, control = fd_messages.pair()
    supervisor, status = fd_messages.pair()
    null = os.open(os.devnull, os.O_RDWR)

    def serve() -> None:
        keeper.close()
        (small_group / "cgroup.procs").write_text(str(os.getpid()))
        Zygote(control, Loaded(None, [])).serve()

    warm = start_fork(serve)
    fd_messages.send(keeper, {}, [*[null] * (fd_messages.TASK_DESCRIPTORS - 1), status.fileno()])
    keeper.close()
    status.close()
    control.close()
    assert "pid" in (fd_messages.receive(supervisor)[0] or {})
    told = fd_messages.receive(supervisor)[0] or {}
    os.waitpid(warm, 0)
    os.close(null)
    assert told["exit"] == -signal.SIGKILL
    assert told["memory"]["limit"] == 96 << 20
    assert told["memory"]["kills"] == 1
    assert told["memory"]["peak"] > 32 << 20
    assert "The limit is 96 MiB" in task_start.describe_memory_kill(told["memory"])
