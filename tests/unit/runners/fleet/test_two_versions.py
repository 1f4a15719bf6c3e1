"""A host between two versions of the packages: every process that starts there finds files that it can read.

A made-up host carries out the steps of the plan one by one. After each step every process of Airflow that runs may
start another one, and systemd may start every unit anew, as after a crash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import diff
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import FileFact, HostFacts, UnitFact
from airfleet.runners.fleet.plan.steps import (
    Bring,
    ReloadUnits,
    RemoveFile,
    RemoveRuntime,
    RunJob,
    Step,
    Unpack,
    WriteFile,
)
from converged_hosts import converged
from places import NINE, desired

OLD, NEW, NEXT = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"
HOSTS = ("web1", "sched1", "cpu1")
UNITS = Path("/etc/systemd/system")
NOTES = Path("/etc/airfleet/units")


def version(host: str, runtime: str) -> DesiredHost:
    """Return the desired host of a version of airfleet. Its airflow.cfg names the version, as class paths would."""
    return desired(host, f"{NINE}airflow: {{email: {{from_email: {runtime}}}}}\n", runtime=runtime)


@dataclass
class Started:
    """A process of a unit, with the unit file at its start and the recorded fingerprint."""

    unit: str
    note: str


@dataclass
class MadeUpHost:
    """Files, packages, the units that systemd has read, and the running processes."""

    files: dict[Path, str] = field(default_factory=dict)
    runtimes: list[str] = field(default_factory=list)
    loaded: dict[str, str] = field(default_factory=dict)
    running: dict[str, Started] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def applied(cls, want: DesiredHost) -> MadeUpHost:
        host = cls()
        for step in diff.decide(want, HostFacts()):
            host.do(step)
        return host

    def do(self, step: Step) -> None:
        match step.action:
            case WriteFile(file):
                self.files[file.path] = reveal(file.content)
            case RemoveFile(path):
                self.files.pop(path, None)
            case Unpack(digest):
                self.runtimes.insert(0, digest)
            case RemoveRuntime(digest, files):
                self.runtimes.remove(digest)
                gone = {path for path in self.files if digest in path.parts} | set(files)
                self.files = {path: text for path, text in self.files.items() if path not in gone}
            case ReloadUnits():
                self.reload()
            case Bring(service, _):
                if service.unit not in self.loaded:
                    self.reload()
                self.start(service.unit)
            case RunJob(job):
                self.jobs[job.name] = job.fingerprint

    def reload(self) -> None:
        self.loaded = {path.name: text for path, text in self.files.items() if path.parent == UNITS}

    def start(self, unit: str) -> None:
        self.running[unit] = Started(self.loaded[unit], self.files.get(NOTES / unit, ""))

    def look(self, want: DesiredHost) -> HostFacts:
        """Return what a survey of this host finds. Facts that the version does not change are as after an apply."""
        there = converged(want)
        modes = {file.path: file for file in want.files}
        facts = {}
        for path, text in self.files.items():
            if (file := modes.get(path)) is not None:
                digest = file.digest if reveal(file.content) == text else "another"
                facts[str(path)] = FileFact(digest, file.owner, file.group, file.mode, None if file.is_secret else text)
        return HostFacts(
            files=facts | {str(file.path): there.files[str(file.path)] for file in want.early},
            folders=there.folders,
            units={unit: UnitFact("active", "enabled", one.note) for unit, one in self.running.items()},
            jobs=self.jobs,
            users=there.users,
            masked=there.masked,
            managed=frozenset(str(path) for path in self.files if "airfleet" in str(path)),
            runtimes=tuple(self.runtimes),
            packages=there.packages,
        )

    def check(self) -> None:
        """Assert that each running process can start one of its version, and that systemd can start every unit."""
        for unit, text in [*((name, one.unit) for name, one in self.running.items()), *self.loaded.items()]:
            packages = re.search(r"^ExecStart=/opt/airfleet/(\w+)/", text, re.MULTILINE)
            config = re.search(r'^Environment="AIRFLOW_CONFIG=(.+)"$', text, re.MULTILINE)
            if packages and config:
                assert packages[1] in self.runtimes, unit
                assert packages[1] in self.files.get(Path(config[1]), "no such file"), unit
        # The agents start no further process. An earlier version's user cannot read the file of this one: it has
        # another path.
        if agents := re.search(
            r'^Environment="AIRFLEET_AGENTS=(.+)"$', self.loaded.get("airfleet-agents.service", ""), re.MULTILINE
        ):
            assert Path(agents[1]) in self.files

    def share_user_of_agents(self) -> None:
        """Change the host to a version whose agents had the user and the folder of Airflow's servers."""
        path = Path("/etc/airfleet/agents/agents.json")
        self.files[Path("/etc/airfleet/server/agents.json")] = self.files.pop(path)
        unit, note = UNITS / "airfleet-agents.service", NOTES / "airfleet-agents.service"
        text = self.files[unit].replace("User=airfleet-agents", "User=airfleet")
        self.files[unit] = text.replace("/etc/airfleet/agents/", "/etc/airfleet/server/")
        self.files[note] = f"of-an-earlier-unit {self.files[note].split()[-1]}"
        self.reload()
        self.start(unit.name)

    def forget_layout(self) -> None:
        """Change the host to the layout of a version whose packages shared one airflow.cfg."""

        def shorten(text: str) -> str:
            return re.sub(r"(/etc/airfleet/\w+)/\w{16}/airflow.cfg", r"\1/airflow.cfg", text)

        self.files = {Path(shorten(str(path))): shorten(text) for path, text in self.files.items()}
        self.reload()
        for unit in self.running:
            self.start(unit)


def apply(host: MadeUpHost, want: DesiredHost) -> None:
    for step in diff.decide(want, host.look(want)):
        host.do(step)
        host.check()
    assert diff.decide(want, host.look(want)) == ()
    for service in want.services:
        assert host.running[service.unit].unit == host.files[UNITS / service.unit], f"{service.unit} is an old one"


@pytest.mark.parametrize("name", HOSTS)
def test_programs_of_both_versions_start_at_any_time_of_an_apply_and_of_the_way_back(name: str) -> None:
    host = MadeUpHost.applied(version(name, OLD))
    host.check()
    for runtime in (NEW, OLD, NEW, NEXT, OLD):
        apply(host, version(name, runtime))
    assert len(host.runtimes) == 2
    assert {path.parent.name for path in host.files if path.name == "airflow.cfg"} == set(host.runtimes)


@pytest.mark.parametrize("name", HOSTS)
def test_a_version_whose_packages_shared_one_file_keeps_it_until_its_packages_go(name: str) -> None:
    host = MadeUpHost.applied(version(name, OLD))
    host.forget_layout()
    shared = {path for path in host.files if path.name == "airflow.cfg"}
    apply(host, version(name, NEW))
    assert shared <= host.files.keys()
    apply(host, version(name, NEXT))
    assert not shared & host.files.keys()


@pytest.mark.parametrize("name", HOSTS)
def test_an_apply_that_ends_anywhere_leaves_no_process_that_is_taken_for_another(name: str) -> None:
    want = version(name, NEW)
    count = len(diff.decide(want, MadeUpHost.applied(version(name, OLD)).look(want)))
    for done in range(count):
        host = MadeUpHost.applied(version(name, OLD))
        for step in diff.decide(want, host.look(want))[:done]:
            host.do(step)
        # Whatever crashes now is started by systemd.
        for unit in sorted(host.running)[done % 2 :: 2]:
            host.start(unit)
        host.check()
        apply(host, want)


def test_agents_that_get_a_user_of_their_own_start_at_any_time_of_the_apply() -> None:
    want = version("sched1", OLD)

    def share() -> MadeUpHost:
        host = MadeUpHost.applied(want)
        host.share_user_of_agents()
        return host

    for done in range(len(diff.decide(want, share().look(want)))):
        host = share()
        for step in diff.decide(want, host.look(want))[:done]:
            host.do(step)
            host.check()
        host.start("airfleet-agents.service")
        apply(host, want)
        assert Path("/etc/airfleet/server/agents.json") not in host.files
        assert "User=airfleet-agents\n" in host.running["airfleet-agents.service"].unit


def test_a_role_that_a_host_no_longer_has_leaves_no_secret_of_a_former_version() -> None:
    host = MadeUpHost.applied(version("cpu1", OLD))
    apply(host, version("cpu1", NEW))
    as_web = desired(
        "cpu1",
        NINE.replace(
            "cpu1: {address: 10.0.0.31, pools: [default, cpu]}", "cpu1: {address: 10.0.0.31, roles: [web]}"
        ).replace("pools: [memory]", "pools: [memory, default, cpu]"),
        runtime=NEW,
    )
    for step in diff.decide(as_web, host.look(as_web)):
        host.do(step)
    assert not [path for path in host.files if path.is_relative_to("/etc/airfleet/worker")]
