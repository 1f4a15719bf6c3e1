"""A fleet is upgraded and downgraded between two versions of Airflow while tasks run; a killed move is completed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from deadline import wait_until
from four import AIRFLEET, Four, Poller

pytestmark = [pytest.mark.hosts, pytest.mark.drill]
OLD, NEW = "3.3.1", "3.3.2"


def test_a_fleet_moves_back_and_forth_while_it_works(four: Four) -> None:
    move(four, OLD, "--back")
    done = move(four, NEW)
    listed = json.loads(four.do("db", "backups", "--json"))
    assert done["backup"] in [one["name"] for one in listed]


def test_a_move_that_was_killed_is_finished_or_taken_back_by_the_next_call(four: Four) -> None:
    begin_and_kill(four, "--to", OLD)
    assert running(four)["target"] == OLD
    refused = four.run("apply")
    assert refused.returncode == 1
    assert "moving from Airflow 3.3.2 to 3.3.1" in refused.stderr
    move(four, NEW, "--back")
    begin_and_kill(four, "--to", OLD)
    move(four, OLD)
    assert four.run("upgrade", "--yes").returncode == 0


def move(four: Four, version: str, *words: str) -> dict[str, object]:
    """Upgrade while tasks run and requests reach the UI; no task and no request fails."""
    began, ended = four.ledger()
    runs = [four.trigger(60) for _ in range(4)]
    wait_until(lambda: four.ledger()[0] == began + 4, "tasks that run", every_s=1)
    with Poller(four.url) as poller:
        begun = time.monotonic()
        done = four.do("upgrade", *words, "--yes", "--json")
        print(f"{version} after {time.monotonic() - begun:.0f} s, {poller.asked} requests: {done}")
        runs.append(four.trigger(1))
    four.wait(runs)
    assert [count - before for count, before in zip(four.ledger(), (began, ended), strict=True)] == [5, 5]
    assert poller.failed == []
    assert poller.asked > 10
    assert four.call("GET", "/version")["version"] == version
    assert running(four)["target"] == ""
    assert four.run("plan", "--check").returncode == 0
    return dict(json.loads(done))


def begin_and_kill(four: Four, *words: str) -> None:
    """Run a command and kill it once it has begun to change the fleet."""
    call = subprocess.Popen([*AIRFLEET, "upgrade", *words, "--yes"], cwd=four.folder)
    try:
        wait_until(lambda: running(four)["target"] or call.poll() is not None, "a move", every_s=0.1)
    finally:
        os.kill(call.pid, signal.SIGKILL)
        call.wait()


def running(four: Four) -> dict[str, str]:
    return dict(json.loads((four.folder / ".airfleet" / "airflow.json").read_text()))
