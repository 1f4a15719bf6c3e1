"""An apply removes what only a former version used after the last process of that version has ended."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from airfleet.components.host_model import Stage
from airfleet.components.hosts import metadata_jobs
from airfleet.operations.apply import Apply, PackageSource
from airfleet.runners.fleet.apply.applier import Applier
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, waves
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import UnitFact
from airfleet.runners.fleet.survey import outside_health
from airfleet.runners.fleet.survey.host_survey import HostView, Survey, change_steps
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.workspace import credentials
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.migrations import runner
from converged_hosts import converged
from places import CREDENTIALS, RUNTIME, desired, parse, place

FOUR = """\
name: flights
hosts:
  web1: {address: 10.0.0.11, roles: [web, balancer]}
  sched1: {address: 10.0.0.21, roles: [scheduler]}
  io1: {address: 10.0.0.33, pools: [io]}
  data1: {address: 10.0.0.41, roles: [database, broker]}
pools:
  io: {concurrency: 32, queues: [default, io]}
"""
LATER = runner.parse({"9002_drop.post.sql": "-- Why: a test.\nALTER TABLE airfleet.job DROP COLUMN fingerprint;\n"})
WORKER = "airfleet-worker-io.service"
CLEANUP = "run metadata-cleanup"


class KilledError(BaseException):
    """Raised where a command is killed, so that it does nothing more."""


class Fleet:
    """Hosts that an apply has brought to a version with a `post` migration."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.notes: list[str] = []
        self.packages = {host.name: {RUNTIME} for host in parse(FOUR).hosts}
        self.fails = ""
        self.killed = ""
        self.down = ""
        self.facts = {}
        for host in parse(FOUR).hosts:
            self.facts[host.name] = replace(converged(desired(host.name, FOUR)), jobs=converged(want(host.name)).jobs)
        self.forget_cleanup()

    def forget_cleanup(self) -> None:
        jobs = self.facts["sched1"].jobs
        left = {name: value for name, value in jobs.items() if name != metadata_jobs.CLEANUP}
        self.facts["sched1"] = replace(self.facts["sched1"], jobs=left)

    def survey(self) -> Survey:
        views = [self._view(host.name) for host in parse(FOUR).hosts if host.name != self.down]
        errors = (HostError("no answer", where=self.down),) if self.down else ()
        return Survey(tuple(views), errors)

    def _view(self, name: str) -> HostView:
        connection: Any = Connection(self, name)
        facts = self.facts[name]
        recipe = airflow_archive.Recipe("", "", "", "", ())
        return HostView(connection, want(name), facts, diff.decide(want(name), facts), recipe)


class Connection:
    """The way to one host."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet, self._name = fleet, name

    def check(self, script: str, *, timeout_s: float = 60, data: object = None, what: str = "") -> str:
        fleet = self._fleet
        if what.startswith("looking for processes"):
            return "\n".join(fleet.packages[self._name])
        if fleet.killed and fleet.killed in what:
            fleet.killed = ""
            raise KilledError
        fleet.did.append(f"{self._name}: {what}")
        if fleet.fails and fleet.fails in what:
            raise HostError("it broke", where=self._name)
        if what.startswith(CLEANUP):
            facts = fleet.facts[self._name]
            fleet.facts[self._name] = replace(facts, jobs=converged(want(self._name)).jobs)
        return ""

    def run(self, script: str, *, timeout_s: float = 60) -> Any:  # noqa: ANN401 - made up
        raise HostError("nobody asks", where=self._name)


class Session:
    """The methods of a session that an apply uses."""

    def __init__(self, fleet: Fleet, folder: StateFolder) -> None:
        self._fleet, self.folder = fleet, folder
        fields = {"fleet": parse(FOUR), "credentials": CREDENTIALS, "rotations": Rotations()}
        self.spec: Any = type("Spec", (), fields)()
        self.is_lost = False

    def notify(self, line: str) -> None:
        self._fleet.notes.append(line)

    def survey_all(self, *_: object, **__: object) -> tuple[RemovedHosts, Survey]:
        return RemovedHosts(), self._fleet.survey()

    def hold_lease(self, _: object) -> bool:
        return True

    def applier(self, views: Any, **more: Any) -> Applier:  # noqa: ANN401
        return Applier(
            views,
            who="me@here",
            archives={},
            clock=itertools.count().__next__,
            notify=lambda _: None,
            lost=threading.Event(),
            absent=more.get("absent", ()),
        )


class Rotations:
    def is_due(self, *_: object, **__: object) -> bool:
        return False


@cache
def want(name: str) -> DesiredHost:
    """Return a host with the job of a `post` migration."""
    bare = desired(name, FOUR)
    where = place(parse(FOUR), name)
    jobs = metadata_jobs.clean_up(where, LATER) if name == "sched1" else ()
    return replace(
        bare,
        parts=(
            *bare.parts,
            replace(
                bare.parts[0], packages=(), jobs=jobs, users=(), folders=(), files=(), services=(), early=(), masks=()
            ),
        ),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    monkeypatch.setattr(outside_health, "wait", lambda *_, **__: ())
    monkeypatch.setattr(credentials, "describe_former", lambda *_: ())
    made = StateFolder(tmp_path)
    made.create()
    return made


def carry_out(fleet: Fleet, folder: StateFolder, *, sleep: Any = lambda _: None) -> Apply:  # noqa: ANN401
    change = Apply(
        cast("Any", Session(fleet, folder)),
        (),
        source=PackageSource(is_offline=False),
        report=lambda _: None,
        drain_s=20,
        clock=itertools.count(0, 5).__next__,
        sleep=sleep,
    )
    change.run()
    return change


def list_cleanups(fleet: Fleet) -> list[str]:
    return [line for line in fleet.did if CLEANUP in line]


def test_it_is_done_by_one_host_once_and_then_nothing_is_left(folder: StateFolder) -> None:
    fleet = Fleet()
    assert [step.what.partition(":")[0] for step in fleet.survey().steps] == [CLEANUP]
    assert carry_out(fleet, folder).errors == ()
    assert carry_out(fleet, folder).errors == ()
    assert len(list_cleanups(fleet)) == 1
    assert list_cleanups(fleet)[0].startswith("sched1: ")
    assert fleet.survey().steps == ()


def test_it_comes_after_every_other_change_of_every_host(folder: StateFolder) -> None:
    fleet = Fleet()
    for name, facts in fleet.facts.items():
        units = {unit: replace(fact, active="failed") for unit, fact in facts.units.items()}
        fleet.facts[name] = replace(facts, units=units)
    order = fleet.survey()
    count = len(change_steps(order, waves.leave_cleanup).steps)
    assert count > 20

    # What was brought up is healthy when the hosts are looked at again.
    def heal(_: float) -> None:
        assert not list_cleanups(fleet)
        for name in fleet.facts:
            fleet.facts[name] = replace(fleet.facts[name], units=converged(desired(name, FOUR)).units)

    carry_out(fleet, folder, sleep=heal)
    assert CLEANUP in fleet.did[-1]


@pytest.mark.parametrize("why", ["a task of a former version", "a worker that drains", "a host that is away"])
def test_nothing_is_removed_while_a_former_version_may_run(folder: StateFolder, why: str) -> None:
    fleet = Fleet()
    if why == "a task of a former version":
        fleet.packages["io1"].add("fedcba9876543210")
    elif why == "a worker that drains":
        units = {**fleet.facts["io1"].units, WORKER: UnitFact("deactivating", "enabled", "old\nold\n")}
        fleet.facts["io1"] = replace(fleet.facts["io1"], units=units)
    else:
        fleet.down = "io1"
    change = carry_out(fleet, folder)
    assert list_cleanups(fleet) == []
    assert [step.stage for step in change.outcome.skipped] == [Stage.CLEANUP]
    # It has ended, or is back: the next apply goes on.
    fleet.packages["io1"], fleet.down = {RUNTIME}, ""
    fleet.facts["io1"] = replace(fleet.facts["io1"], units=converged(desired("io1", FOUR)).units)
    assert carry_out(fleet, folder).outcome.skipped == ()
    assert len(list_cleanups(fleet)) == 1


def test_the_end_of_a_former_version_s_last_process_is_waited_for(folder: StateFolder) -> None:
    fleet = Fleet()
    fleet.packages["io1"].add("fedcba9876543210")
    carry_out(fleet, folder, sleep=lambda _: fleet.packages["io1"].discard("fedcba9876543210"))
    assert len(list_cleanups(fleet)) == 1
    assert any("waiting for processes of a former version" in note for note in fleet.notes)


def test_an_apply_that_is_killed_before_it_or_that_fails_in_it_is_completed_by_the_next(folder: StateFolder) -> None:
    fleet = Fleet()
    fleet.killed = CLEANUP
    with pytest.raises(KilledError):
        carry_out(fleet, folder)
    fleet.fails = CLEANUP
    assert [error.where for error in carry_out(fleet, folder).errors] == ["sched1"]
    assert len(fleet.survey().steps) == 1
    fleet.fails = ""
    assert carry_out(fleet, folder).errors == ()
    assert fleet.survey().steps == ()


def test_a_version_that_removes_nothing_has_no_such_job_and_other_packages_do_not_repeat_it() -> None:
    assert metadata_jobs.clean_up(place(parse(FOUR), "sched1"), runner.parse({"0001_a.pre.sql": "SELECT 1"})) == ()
    jobs = [metadata_jobs.clean_up(place(parse(FOUR), "sched1", runtime=name), LATER) for name in (RUNTIME, "0" * 16)]
    assert jobs[0][0].fingerprint == jobs[1][0].fingerprint
    [job] = jobs[0]
    assert "'airfleet' 'migrate' '--post'" in job.script.reveal()
