"""The names of Airflow's that a warm start relies on, as the installed Airflow has them."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import time

import pytest
from airflow.sdk.execution_time import coordinator, supervisor

from airfleet_provider.compat.patches import task_start
from airfleet_provider.processes import fd_messages
from airfleet_provider.task_runtime.coordinator import WarmCoordinator


def test_an_airflow_that_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.version.version", "3.4.0")
    assert "3.4.0" in str(task_start.find_obstacle())
    assert WarmCoordinator().obstacle


def test_an_airflow_whose_names_changed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_fork_main", lambda requests: None)
    assert "_fork_main" in str(task_start.find_obstacle()) or "lambda" in str(task_start.find_obstacle())


def test_a_signal_has_a_name() -> None:
    code = task_start.SignalExit(-signal.SIGKILL)
    assert (code.name, code == -signal.SIGKILL) == ("SIGKILL", True)


def test_the_coordinator_takes_what_airflow_gives() -> None:
    ours = set(inspect.signature(WarmCoordinator.execute_task).parameters)
    assert set(inspect.signature(coordinator.BaseCoordinator.execute_task).parameters) <= ours
    assert isinstance(task_start.stock_coordinator(), coordinator.BaseCoordinator)


def make_tracker(pid: int) -> tuple[task_start.ForkedProcessTracker, socket.socket]:
    ours, theirs = fd_messages.pair()
    return task_start.ForkedProcessTracker(pid, ours), theirs


@pytest.mark.parametrize(("said", "heard"), [(0, 0), (3, 3), (-9, -9)])
def test_a_tracker_hears_how_a_task_ended(said: int, heard: int) -> None:
    tracker, theirs = make_tracker(os.getpid())
    with pytest.raises(tracker.TimeoutExpired):
        tracker.wait(0)
    fd_messages.send(theirs, {"exit": said})
    assert not tracker.hear(tracker.channel)
    assert tracker.wait(0) == heard
    with pytest.raises(tracker.ProcessNotFound):
        tracker.send_signal(signal.SIGTERM)
    tracker.close()
    theirs.close()


def test_a_tracker_whose_warm_process_died_sees_the_end_of_the_task() -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    tracker, theirs = make_tracker(pid)
    lost: list[task_start.ForkedProcess] = []
    tracker.on_lost = lost.append
    theirs.close()
    assert not tracker.hear(tracker.channel)
    with pytest.raises(tracker.TimeoutExpired):
        tracker.wait(0)
    tracker.send_signal(signal.SIGKILL)
    os.waitpid(pid, 0)
    tracker.see_end(lost[0])
    assert tracker.wait(0) == -signal.SIGKILL
    tracker.close()
