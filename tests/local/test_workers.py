"""`airfleet workers` on one machine: a worker that is drained finishes what it has, and stays so through its death."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from deadline import wait_until
from fleets import HEALTHY_S, Platform

pytestmark = pytest.mark.local


def look(platform: Platform) -> dict[str, Any]:
    (worker,) = json.loads(platform.airfleet("workers", "list", "--json", check=False).stdout)["workers"]
    return worker


def test_a_drained_worker_finishes_takes_nothing_stays_drained_and_resumes(celery: Platform) -> None:
    slow = celery.hold()
    wait_until(lambda: look(celery)["running"] == ["slow.work"], "the task in the list")
    refused = celery.airfleet("workers", "drain", "localhost", "--timeout", "2", check=False)
    assert refused.returncode == 1
    assert "tasks are still running after 2 s" in refused.stderr
    assert "no other worker serves default" in refused.stderr
    assert look(celery)["state"] == "draining"

    quick = celery.trigger("quick")
    celery.release()
    celery.airfleet("workers", "drain", "localhost")
    assert celery.wait_run("slow", slow) == "success"
    assert celery.attempts()[-1] == "done"
    assert len(celery.attempts()) == 2, "it ran once, and to its end"

    old = celery.pid("worker")
    assert old
    os.kill(old, signal.SIGKILL)
    wait_until(
        lambda: look(celery)["state"] == "drained" and celery.pid("worker") not in (None, old),
        "another worker, drained from its start",
        timeout_s=HEALTHY_S,
        every_s=0.5,
    )
    celery.wait_healthy()
    assert celery.run_state("quick", quick) in ("queued", "running")
    celery.airfleet("workers", "resume", "default@localhost")
    assert look(celery)["state"] == "serving"
    assert celery.wait_run("quick", quick) == "success"


def test_a_name_that_is_nobody_s_is_told_with_those_that_are(celery: Platform) -> None:
    done = celery.airfleet("workers", "drain", "elsewhere", check=False)
    assert done.returncode == 2
    assert "there is no worker 'elsewhere'" in done.stderr
    assert "default@localhost" in done.stderr
