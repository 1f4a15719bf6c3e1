"""The names of Airflow's that a warm start relies on, as the installed Airflow has them."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import time

import pytest
from airflow.dag_processing import dagbag
from airflow.sdk.execution_time import coordinator, supervisor, task_runner

from airfleet_provider.compat.patches import task_start
from airfleet_provider.processes import fd_messages
from airfleet_provider.task_runtime.coordinator import WarmCoordinator


def test_the_installed_airflow_is_fit() -> None:
    assert task_start.find_obstacle() is None


def test_an_airflow_that_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.version.version", "3.4.0")
    assert "3.4.0" in str(task_start.find_obstacle())
    assert WarmCoordinator().obstacle


def test_an_airflow_whose_names_changed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_fork_main", lambda requests: None)
    assert "_fork_main" in str(task_start.find_obstacle()) or "lambda" in str(task_start.find_obstacle())


def test_a_task_asks_for_its_dag_file_as_a_warm_process_loads_it() -> None:
    source = inspect.getsource(task_runner.parse)
    assert "from airflow.dag_processing.dagbag import BundleDagBag" in source
    for argument in ("dag_folder=dag_absolute_path", "safe_mode=False", "load_op_links=False"):
        assert argument in source
    assert inspect.signature(dagbag.BundleDagBag)


def test_the_supervisor_looks_at_a_process_only_after_its_sockets() -> None:
    """The stall that a watched status socket removes; without it, that socket would be no more than harmless."""
    source = inspect.getsource(supervisor.WatchedSubprocess._service_subprocess)
    assert source.index("self.selector.select") < source.index("self._check_subprocess_exit")
    assert "need_more = socket_handler(key.fileobj)" in source
    assert "on_close(sock)" in source


def test_a_signal_has_a_name() -> None:
    assert 'name := getattr(self._exit_code, "name", None)' in inspect.getsource(
        supervisor.WatchedSubprocess._check_subprocess_exit
    )
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


def test_a_start_counts_as_a_sign_of_life() -> None:
    from airflow.api_fastapi.execution_api.routes import task_instances  # noqa: PLC0415

    assert "last_heartbeat_at=timezone.utcnow()" in inspect.getsource(task_instances.ti_run)
    source = inspect.getsource(supervisor.ActivitySubprocess._send_heartbeat_if_needed)
    assert "time.monotonic() - self._last_heartbeat_attempt) < MIN_HEARTBEAT_INTERVAL" in source
    assert "self._last_successful_heartbeat = time.monotonic()" in inspect.getsource(
        supervisor.ActivitySubprocess._on_child_started
    )
