"""A host that joins: it starts what it needs at once, and the other hosts restart nothing for it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from airfleet.components.host_model import Stage
from airfleet.components.hosts import workers
from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import diff, systemd_units
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import Bring
from converged_hosts import converged
from deadline import PATIENCE_S
from places import NINE, desired, parse, with_setting

# One pool scales, one host has every role that looks at other hosts, and more than one host has agents.
WITHOUT = with_setting(
    with_setting(NINE, "[web, monitor]", "[web, monitor, logs]"),
    "cpu: {concurrency: 4",
    "cpu: {scale: {}, concurrency: 4",
)
WITH = with_setting(WITHOUT, "  memory1:", "  cpu2: {address: 10.0.0.39, pools: [default, cpu]}\n  memory1:")
OLD_HOSTS = [host.name for host in parse(WITHOUT).hosts]


@pytest.mark.parametrize("name", OLD_HOSTS)
def test_a_host_that_joins_restarts_nothing_on_the_others(name: str) -> None:
    want = desired(name, WITH)
    facts = converged(desired(name, WITHOUT))
    hows = {step.what: step.action.how for step in diff.decide(want, facts) if isinstance(step.action, Bring)}
    assert set(hows.values()) <= {"reload"}, hows


def test_the_agents_learn_of_the_host_from_a_file_that_they_read_again() -> None:
    def read(text: str, name: str) -> str:
        files = {file.path.name: reveal(file.content) for file in desired("sched1", text).files}
        return files[name]

    assert read(WITH, "agents.json") == read(WITHOUT, "agents.json")
    now = json.loads(read(WITH, "hosts.json"))
    assert now["metrics"]["hosts"]["10.0.0.39"] == "cpu2"
    assert {one["pool"]: one["slots"] for one in now["metrics"]["workers"]}["cpu"] == 8
    assert [rule["hosts"] for rule in now["slots"]["rules"]] == [["cpu1", "cpu2"]]
    assert json.loads(read(WITH, "agents.json"))["hosts"] == "/etc/airfleet/agents/hosts.json"


def test_what_imports_airflow_on_a_worker_host_starts_at_the_same_time() -> None:
    found = [step.action for step in diff.decide(desired("cpu2", WITH), HostFacts())]
    services = [action.service for action in found if isinstance(action, Bring)]
    names = [one.name for one in services]
    first = names.index("worker-logs")
    # An applier starts the services of a stage that follow each other at once.
    assert set(names[first : first + 3]) == {"worker-logs", "worker-default", "worker-cpu"}
    assert {one.stage for one in services[first : first + 3]} == {Stage.WORK}


def check_worker(want: DesiredHost, tmp_path: Path, note: str | None) -> bool:
    """Return whether a worker whose process is 7 is healthy, with this note of it."""
    service = next(one for one in want.services if one.name == "worker-cpu")
    path = tmp_path / "cpu.json"
    if note is not None:
        path.unlink(missing_ok=True)
        path.write_text(note)
    script = systemd_units.check(replace(service, user="somebody")).replace(str(workers.find_note("cpu")), str(path))
    assert str(path) in script
    programs = {"systemctl": 'case "$*" in *MainPID*) echo 7;; esac', "runuser": 'shift 3; exec "$@"'}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path_of_programs = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", script], env={"PATH": path_of_programs}, check=False, timeout=PATIENCE_S)
    return done.returncode == 0


def test_a_worker_is_healthy_once_it_has_noted_that_it_serves_its_queues(tmp_path: Path) -> None:
    want = desired("cpu1")
    assert not check_worker(want, tmp_path, None)
    assert not check_worker(want, tmp_path, json.dumps({"pid": 70, "slots": 7})), "an earlier process wrote it"
    assert check_worker(want, tmp_path, json.dumps({"slots": 4, "pid": 7}))
    assert check_worker(want, tmp_path, json.dumps({"pid": 7, "slots": 4}))


def test_a_note_that_a_task_replaced_by_something_endless_does_not_hold_up_an_apply(tmp_path: Path) -> None:
    note = tmp_path / "cpu.json"
    note.symlink_to("/dev/zero")
    assert not check_worker(desired("cpu1"), tmp_path, None)
    note.unlink()
    os.mkfifo(note)
    assert not check_worker(desired("cpu1"), tmp_path, None)
