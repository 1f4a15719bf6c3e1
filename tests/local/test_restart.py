"""`down` and `up` again: with tasks that may finish, with `--now`, after a refusal, and beside another platform."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from deadline import PATIENCE_S, wait_until
from fleets import Platform

pytestmark = pytest.mark.local


def test_down_lets_a_running_task_finish(platform: Platform) -> None:
    run = platform.hold()
    password = platform.password
    with subprocess.Popen([sys.executable, "-m", "airfleet", "down"], cwd=platform.project) as down:
        wait_until(lambda: phase(platform) == "stopping", "the stop")
        assert platform.attempts()[-1] != "done"
        platform.release()
        assert down.wait(PATIENCE_S) == 0
    assert platform.attempts()[1:] == ["done"]
    assert platform.processes() == []
    platform.up()
    assert platform.wait_run("slow", run) == "success"
    assert platform.attempts()[1:] == ["done"], "it ran again although it had finished"
    assert platform.password == password


def test_down_now_hands_the_task_back_to_the_next_up(platform: Platform) -> None:
    run = platform.hold()
    platform.down("--now")
    assert platform.attempts()[-1] != "done"
    assert platform.processes() == []
    platform.release()
    platform.up()
    assert platform.wait_run("slow", run) == "success"
    assert platform.attempts()[-1] == "done"


def test_an_up_that_was_refused_works_later_and_beside_another_project(platform: Platform, other: Platform) -> None:
    with socket.create_server(("127.0.0.1", other.port)):
        assert other.airfleet("up", "--detach", check=False).returncode == 1
    other.up()
    assert other.port != platform.port
    assert other.password != platform.password
    assert other.succeeds("quick")
    assert platform.succeeds("quick")
    assert other.log_in(platform.password).status_code == 401
    other.down()
    assert other.processes() == []
    platform.wait_healthy()


def phase(platform: Platform) -> str:
    snapshot = platform.state.read_snapshot()
    return snapshot.phase if snapshot else ""
