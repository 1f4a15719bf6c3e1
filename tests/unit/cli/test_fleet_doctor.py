"""`airfleet doctor` in the project of a fleet: what it finds on the hosts and on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from airfleet.runners.fleet import diagnosis, lease
from airfleet.spec.topology import Host
from airfleet.workspace.diagnosis import Diagnosis
from airfleet.workspace.state_folder import StateFolder
from clocks import MadeUpClock
from places import NOBODY, parse
from shells import MadeUpShell


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(NOBODY)
    return tmp_path


WELL = """\
@@airfleet@@ system
Debian GNU/Linux 12
@@airfleet@@ airflow
3.3.2
@@airfleet@@ space
/ 100000000 50000000
@@airfleet@@ sync
yes
@@airfleet@@ failed
@@airfleet@@ lease
"""


def examine(project: Path, said: str, *, ahead: float = 0.0, trip: float = 0.1) -> list[Diagnosis]:
    """Run the doctor on a fleet where cpu1 reports these facts and every other host is away."""
    clock = MadeUpClock(1000.0)

    def answer(script: str) -> str:
        if script != diagnosis.CLOCK:
            return said
        there = clock.now + trip / 2 + ahead
        clock.now += trip
        return f"{there}\n"

    def connect(host: Host, _: Path) -> Any:  # noqa: ANN401 - a shell as far as it is used here
        return MadeUpShell(answer, host, away=host.name != "cpu1")

    fleet = parse(f"{NOBODY}ssh: {{known_hosts: known_hosts}}\n")
    if not (project / "known_hosts").exists():
        (project / "known_hosts").touch()
    return diagnosis.examine(fleet, project, StateFolder(project / ".airfleet"), shell=connect, clock=clock)


def find(findings: Sequence[Diagnosis], subject: str) -> Diagnosis:
    return next(finding for finding in findings if finding.subject == subject)


def test_a_host_that_is_well_and_one_that_is_silent(project: Path) -> None:
    findings = examine(project, WELL)
    assert find(findings, "cpu1").level == "ok"
    silent = find(findings, "web1")
    assert (silent.level, silent.what) == ("error", "the host does not answer")
    assert silent.hint
    assert not any("airfleet up" in finding.hint for finding in findings)


@pytest.mark.parametrize(
    ("ahead", "trip", "level"),
    [(0.0, 0.1, "ok"), (100.0, 0.1, "error"), (-100.0, 0.1, "error"), (31.0, 10.0, "ok"), (36.0, 10.0, "error")],
)
def test_a_clock_is_wrong_when_the_round_trip_cannot_explain_it(
    project: Path, ahead: float, trip: float, level: str
) -> None:
    found = find(examine(project, WELL, ahead=ahead, trip=trip), "cpu1: clock")
    assert found.level == level
    assert f"give or take {trip / 2:.2f} s" in found.what
    assert f"{abs(ahead):.2f} s" in found.what


@pytest.mark.parametrize(
    ("old", "new", "subject", "level"),
    [
        ("yes\n", "no\n", "cpu1: clock", "warning"),
        ("50000000", "1000", "cpu1: disk", "error"),
        ("50000000", "5000000", "cpu1: disk", "warning"),
        ("failed\n", "failed\nairfleet-worker-cpu.service\n", "cpu1: services", "error"),
        ("3.3.2\n", "3.3.1\n", "cpu1: Airflow", "warning"),
        ("lease\n", 'lease\n0123\n1060\n2026\n"ann@here"\n1000\n', "cpu1: apply", "warning"),
    ],
)
def test_what_is_wrong_on_a_host_is_told_with_a_hint(
    project: Path, old: str, new: str, subject: str, level: str
) -> None:
    found = find(examine(project, WELL.replace(old, new)), subject)
    assert found.level == level
    assert found.hint


def test_doctor_says_who_applies_this_fleet_now(project: Path) -> None:
    (project / ".airfleet").mkdir(exist_ok=True)
    with lease.claim(project / ".airfleet", "ann@here", "10:00"):
        found = find(examine(project, WELL), "apply")
    assert (found.level, found.what.split(" (")[0]) == ("warning", "ann@here")
    assert find(examine(project, WELL), "apply").level == "ok"


def prepare_key(project: Path) -> None:
    (project / "known_hosts").write_text("nonsense\n")


def prepare_secret(project: Path) -> None:
    secrets = project / ".airfleet" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "jwt_secret").write_text("x")
    (secrets / "jwt_secret").chmod(0o644)


@pytest.mark.parametrize(("prepare", "subject"), [(prepare_key, "known_hosts"), (prepare_secret, "secrets")])
def test_what_is_wrong_here_is_told_with_a_hint(project: Path, prepare: Callable[[Path], None], subject: str) -> None:
    prepare(project)
    found = find(examine(project, WELL), subject)
    assert found.level == "error"
    assert found.hint


@pytest.mark.parametrize(
    ("left_s", "level", "what"),
    [
        (86400 * 500.5, "ok", "ends in 500 days"),
        (86400 * 200.5, "warning", "ends in 200 days"),
        (-500, "error", "ended 1 day ago"),
    ],
)
def test_doctor_says_when_the_certificate_that_a_host_has_ends(
    project: Path, left_s: float, level: str, what: str
) -> None:
    ends = f"{1000 + 86400 * 600}\n{1000 + left_s:.0f}"
    said = WELL.replace("@@airfleet@@ lease", f"@@airfleet@@ certificates\n{ends}\n@@airfleet@@ lease")
    found = find(examine(project, said), "cpu1: certificate")
    assert (found.level, found.what) == (level, what)
    assert bool(found.hint) == (level != "ok")
