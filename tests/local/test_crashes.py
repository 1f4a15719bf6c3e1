"""Every killed process is restarted; no run is lost and no process is left."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil
import pytest

from airfleet_provider.contract import session_notes
from deadline import wait_until
from fleets import COMPONENTS, Platform
from living import is_alive

pytestmark = pytest.mark.local


def kill(pid: int | None) -> int:
    assert pid
    os.kill(pid, signal.SIGKILL)
    return pid


# The database last: who loses its connections may end some time after it, and begin again.
@pytest.mark.parametrize("name", sorted(COMPONENTS, key="postgres".__eq__))
def test_a_killed_component_comes_back(platform: Platform, name: str) -> None:
    others = {other: platform.pid(other) for other in COMPONENTS if other not in (name, "postgres")}
    told = len(platform.log("airfleet"))
    old = kill(platform.pid(name))
    platform.wait_back(name, old)
    news = platform.log("airfleet")[told:]
    assert f"{name} restarting: ended by signal 9" in news
    assert "Traceback" not in news
    restarts = {one["name"]: one["restarts"] for one in platform.status()["components"]}
    assert restarts[name] >= 1
    if name != "postgres":
        assert {other: platform.pid(other) for other in others} == others
    assert platform.succeeds("quick")


def test_an_image_that_hangs_is_named_until_it_answers_again(platform: Platform) -> None:
    image = platform.pid("image")
    assert image
    os.kill(image, signal.SIGSTOP)
    try:
        wait_until(lambda: "image: unhealthy" in platform.describe(), "the image is not healthy")
        shown = next(one for one in platform.status()["components"] if one["name"] == "image")
    finally:
        os.kill(image, signal.SIGCONT)
    assert "has not answered" in shown["detail"]
    platform.wait_healthy()
    assert platform.pid("image") == image


def test_a_task_of_a_killed_scheduler_runs_again_and_only_once_at_a_time(platform: Platform) -> None:
    run = platform.hold()
    old = kill(platform.pid("scheduler"))
    platform.wait_back("scheduler", old)
    assert platform.session(old) == []
    wait_until(lambda: len(platform.attempts()) > 1, "the task's second start")
    assert not is_alive(int(platform.attempts()[0].split()[0])), "two attempts at a time"
    platform.release()
    assert platform.wait_run("slow", run) == "success"
    assert platform.attempts().count("done") == 1


def test_a_killed_supervisor_leaves_nothing_running_and_nothing_is_lost(platform: Platform) -> None:
    run = platform.trigger("quick")
    assert platform.wait_run("quick", run) == "success"
    password = platform.password
    left = platform.processes()
    snapshot = platform.state.read_snapshot()
    assert snapshot
    # By these notes the next one finds what is left, also a task that hides its environment.
    noted = session_notes.read(platform.state.sessions)
    assert {platform.pid(name) for name in COMPONENTS} <= set(noted)
    kill(snapshot.supervisor)
    wait_until(lambda: not any(is_alive(process) for process in left), "the end of its children")
    done = platform.airfleet("status", check=False)
    assert (done.returncode, done.stderr) == (1, "down: no platform runs here\n")
    platform.up()
    assert platform.password == password
    assert platform.run_state("quick", run) == "success"
    assert platform.succeeds("quick")


def test_a_supervisor_and_a_database_killed_while_writing_lose_no_committed_run(platform: Platform) -> None:
    runs = [platform.trigger("quick") for _ in range(5)]
    snapshot = platform.state.read_snapshot()
    assert snapshot
    postmaster = psutil.Process(platform.pid("postgres"))
    for process in (postmaster, *postmaster.children(), psutil.Process(snapshot.supervisor)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    platform.up()
    assert [platform.wait_run("quick", run) for run in runs] == ["success"] * 5
