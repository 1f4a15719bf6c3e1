"""The reported state of a worker, from the observations of its host."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from airfleet.cli.workers import explain_left, tabulate
from airfleet.components.hosts import workers as host_workers
from airfleet.errors import UsageError
from airfleet.operations.workers import access
from airfleet.operations.workers.status import (
    NOTE_BYTES,
    State,
    Worker,
    WorkerFacts,
    WorkerTask,
    choose,
    judge,
    list_deserted,
)
from airfleet.runners.fleet.transport import sections
from airfleet.runners.fleet.transport.connection import Output
from deadline import PATIENCE_S
from places import parse

TASK = {"dag": "sales", "run": "r", "task": "load", "running": True}


def note(state: str, *tasks: dict[str, object], pid: int = 7) -> str:
    return json.dumps({"state": state, "pid": pid, "queues": ["io"], "slots": 3, "tasks": tasks})


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (WorkerFacts(7, stopping=False, marked=False, age_s=1, note=note("serving", TASK)), "serving"),
        (WorkerFacts(7, stopping=False, marked=True, age_s=1, note=note("drained")), "drained"),
        # It has not seen the mark yet, or has not seen that it has gone.
        (WorkerFacts(7, stopping=False, marked=False, age_s=1, note=note("full")), "full"),
        (WorkerFacts(7, stopping=False, marked=True, age_s=1, note=note("serving")), "draining"),
        (WorkerFacts(7, stopping=False, marked=False, age_s=1, note=note("drained")), "draining"),
        (WorkerFacts(7, stopping=True, marked=False, age_s=900, note=note("serving", TASK)), "draining"),
        (WorkerFacts(7, stopping=False, marked=False, age_s=900, note=note("serving", TASK)), "away"),
        (WorkerFacts(8, stopping=False, marked=True, age_s=1, note=note("drained", pid=7)), "starting"),
        (WorkerFacts(7, stopping=False, marked=False, age_s=None, note=""), "starting"),
        (WorkerFacts(None, stopping=False, marked=False, age_s=1, note=note("serving")), "away"),
        (WorkerFacts(None, stopping=False, marked=True, age_s=1, note=note("drained")), "drained"),
    ],
)
def test_a_worker_stands_as_its_process_its_mark_and_its_note_say(facts: WorkerFacts, state: str) -> None:
    assert judge("h1", "io", ("io",), 2, facts).state == state


def test_a_worker_that_a_page_has_drained_is_drained_without_a_mark() -> None:
    for said, state in (("drained", "drained"), ("draining", "draining")):
        words = json.dumps({**json.loads(note(said)), "by_page": True})
        found = judge("h1", "io", ("io",), 2, WorkerFacts(7, stopping=False, marked=False, age_s=1, note=words))
        assert (found.state, found.by_page, found.is_at_rest) == (state, True, state == "drained")
        assert "page" in found.why
    lie = json.dumps({**json.loads(note("serving")), "by_page": "yes"})
    assert not judge("h1", "io", (), 2, WorkerFacts(7, stopping=False, marked=False, age_s=1, note=lie)).by_page


def test_a_living_worker_says_itself_what_it_serves_and_holds() -> None:
    worker = judge(
        "h1", "io", ("old",), 2, WorkerFacts(7, stopping=False, marked=False, age_s=1, note=note("serving", TASK))
    )
    assert (worker.queues, worker.slots, worker.tasks) == (("io",), 3, (WorkerTask("sales.load", True),))


def test_workers_are_called_by_their_host_or_with_their_pool() -> None:
    io1, cpu1, io2 = (Worker(host, pool, "serving") for host, pool in (("h1", "io"), ("h1", "cpu"), ("h2", "io")))
    assert choose((io1, cpu1, io2), ("h1",)) == (io1, cpu1)
    assert choose((io1, cpu1, io2), ("io@h2", "h2", "cpu@h1")) == (io2, cpu1)
    with pytest.raises(UsageError, match="there is no worker 'io'"):
        choose((io1, cpu1, io2), ("io",))


def test_a_queue_is_deserted_when_nobody_else_takes_from_it() -> None:
    io1 = Worker("h1", "io", "serving", ("io", "slow"))
    io2 = Worker("h2", "io", "serving", ("io",))
    gone = Worker("h3", "io", "away", ("slow",))
    assert list_deserted((io1, io2, gone), (io1,)) == ("slow",)


def test_what_a_host_says_is_read_pool_by_pool() -> None:
    mark = sections.MARK
    text = f"{mark} io 7 active 1 4\nnote {note('drained')}\n{mark} cpu 0 inactive 0 0\nnote \n"
    assert access.parse_look(text) == {
        "io": WorkerFacts(7, stopping=False, marked=True, age_s=4, note=note("drained")),
        "cpu": WorkerFacts(None, stopping=False, marked=False, age_s=None, note=""),
    }


def look_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the script for a host with the pools `io` and `cpu`; return its output."""
    monkeypatch.setattr(host_workers, "NOTES", folder)
    monkeypatch.setattr(access, "READ_S", int(PATIENCE_S))
    script = access.build_look(["io", "cpu"]).replace('runuser -u "$LOGIN" -- ', "")
    # A busy machine, or one whose clock is set, makes no note old.
    functions = f"date() {{ stat -c %Y {shlex.quote(str(folder / 'cpu.json'))}; }}\n"
    functions += 'systemctl() { case "$3" in MainPID) echo 7;; *) echo active;; esac; }\n'
    script = functions + script
    return subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode(errors="replace")


def test_a_note_speaks_for_its_own_pool_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any task may write to that folder."""
    forged = f"{sections.MARK} cpu 7 active 1 0\n{note('drained')}\n{sections.MARK} db 7 active 1 0\n"
    (tmp_path / "io.json").write_text(f"x\n{forged}")
    (tmp_path / "cpu.json").write_text(note("serving", TASK))
    sights = access.parse_look(look_at(tmp_path, monkeypatch))
    assert sights.keys() == {"io", "cpu"}
    assert judge("h1", "cpu", ("cpu",), 1, sights["cpu"]).state == "serving"
    assert judge("h1", "io", ("io",), 1, sights["io"]).state == "starting"


@pytest.mark.parametrize("plant", ["pipe", "endless", "link"])
def test_a_look_at_a_note_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    path = tmp_path / "io.json"
    if plant == "pipe":
        os.mkfifo(path)
    elif plant == "link":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 32)
    (tmp_path / "cpu.json").write_text(note("serving"))
    told = look_at(tmp_path, monkeypatch)
    assert len(told) < 2 * NOTE_BYTES
    assert judge("h1", "cpu", ("cpu",), 1, access.parse_look(told)["cpu"]).state == "serving"


@pytest.mark.parametrize(
    "lie",
    [
        {"tasks": 5},
        {"tasks": [5, None, {"dag": "[/red]\x1b[2J", "task": ["x"]}]},
        {"slots": "many"},
        {"slots": 10**400},
        {"queues": 5},
        {"queues": [{}, "\x1b[2J"]},
        {"state": "[/]\x1b[2J"},
        {"state": []},
    ],
)
def test_a_note_that_lies_is_shown_and_breaks_nothing(lie: dict[str, object]) -> None:
    text = json.dumps({**json.loads(note("serving", TASK)), **lie})
    worker = judge("h1", "io", ("io",), 2, WorkerFacts(7, stopping=False, marked=False, age_s=1, note=text))
    shown = io.StringIO()
    Console(file=shown, width=200).print(tabulate((worker,)))
    shown.write(access.describe(worker))
    assert "\x1b" not in shown.getvalue()
    assert worker.state in get_args(State)
    assert (
        judge("h1", "io", (), 2, WorkerFacts(7, stopping=False, marked=False, age_s=1, note="[" * 10**6)).state
        == "starting"
    )


def test_what_is_waited_for_is_told_as_it_changes() -> None:
    states = [("draining", (WorkerTask("a.b", True),)), ("draining", (WorkerTask("a.b", True),)), ("drained", ())]

    class Hosts:
        def read(self) -> tuple[Worker, ...]:
            state, tasks = states.pop(0)
            return (Worker("h1", "io", state, tasks=tasks), Worker("h2", "io", "serving"))  # type: ignore[arg-type]

        def mark(self, workers: object, *, drained: bool) -> None:
            raise AssertionError

    told: list[str] = []
    left = access.wait(Hosts(), ["io@h1"], drained=True, timeout_s=9, notify=told.append, sleep=lambda _: None)
    assert left == ()
    assert told == ["io@h1: draining; 1 task to go: a.b", "io@h1: drained"]


class Silent:
    """The access to two workers of which one, io@h1, is never seen."""

    def read(self) -> tuple[Worker, ...]:
        return (Worker("h2", "io", "serving"),)

    def mark(self, workers: object, *, drained: bool) -> None:
        raise AssertionError


def test_a_worker_that_cannot_be_seen_is_not_at_rest() -> None:
    told: list[str] = []
    left = access.wait(Silent(), ["io@h1"], drained=True, timeout_s=0, notify=told.append, sleep=lambda _: None)
    assert [(worker.name, worker.state) for worker in left] == [("io@h1", "away")]
    error = explain_left(left, 0)
    assert "could not be confirmed" in error.what
    assert error.exit_code == 1
    running = (*left, Worker("h2", "io", "draining"))
    assert "tasks are still running" in explain_left(running, 0).what


@pytest.mark.parametrize(
    "output",
    [
        Output(0, f"{sections.MARK} io  inactive 1 0\n\n", ""),  # systemctl gave no answer to one of its questions
        Output(1, "", "Failed to connect to bus: Connection refused\n"),
        Output(124, f"{sections.MARK} io 0 inactive 1 0\n\n", ""),
    ],
)
def test_a_pool_whose_host_does_not_tell_how_it_stands_is_away(output: Output) -> None:
    class Shell:
        def run(self, script: str, *, timeout_s: float) -> Output:
            return output

    fleet = parse()
    shells: Any = {host.name: Shell() for host in fleet.with_role("worker")}
    states = {worker.name: worker.state for worker in access.FleetWorkers(fleet, shells).read()}
    assert states["io@io1"] == "away"
