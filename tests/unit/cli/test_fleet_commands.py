"""`airflow`, `logs`, `down` and `doctor` in the project of a fleet: the fleet is meant, and never this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from airfleet.cli.main import cli
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import commands, refusals, stopping
from airfleet.runners.fleet import diagnosis, journals, lease
from airfleet.runners.fleet.transport.connection import HostError, Output
from airfleet.workspace.diagnosis import Diagnosis
from airfleet.workspace.state_folder import StateFolder
from places import NINE, parse

# Nobody answers there: RFC 5737 keeps these addresses for documentation.
NOBODY = NINE.replace("10.0.0.", "192.0.2.")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(NOBODY)
    return tmp_path


def airfleet(project: Path, *words: str) -> Any:  # noqa: ANN401 - click has its own type for it
    return CliRunner().invoke(cli, words, env={"HOME": str(project)}, catch_exceptions=True)


def install(folder: Path, **programs: str) -> dict[str, str]:
    """Programs of a host, each a script; the environment in which they are found first."""
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


# airflow -------------------------------------------------------------------------------------------------------------

UNIT = """\
[Unit]
Description=airfleet: scheduler
[Service]
User=airfleet
Environment="AIRFLOW_HOME=/var/lib/airfleet/server"
EnvironmentFile=/etc/airfleet/server/session.env
ExecStartPre=+/bin/mkdir -p /run/airfleet
ExecStart=/opt/airfleet/0123abcd/bin/python -m x /opt/airfleet/0123abcd/bin/airflow scheduler
Restart=always
"""
ODD_WORDS = (
    "dags",
    "trigger",
    "a b",
    "it's",
    '"q"',
    "$HOME",
    "$$",
    "100%",
    "a\nb",
    "é",
    "*",
    "\\",
    "",
    "-c",
    '{"k": 1}',
)


def run_there(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd-run is told by the script."""
    del monkeypatch
    told = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\""
    environment = install(folder, systemd_run=told)
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_airflow_runs_with_what_the_scheduler_of_that_host_runs_with_and_words_arrive_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / "airfleet-scheduler.service"
    unit.write_text(UNIT)
    monkeypatch.setattr(commands, "UNIT", str(unit))
    script = commands.build_script("airfleet-command-1.service", term=None)
    told = run_there(tmp_path, script, monkeypatch)
    ahead, words = told[: told.index("--")], told[told.index("--") + 1 :]
    assert words[0] == "/opt/airfleet/0123abcd/bin/python"
    assert not any("$" in word for word in words), "systemd would replace it"
    path = tmp_path / "airfleet-command-1.service.json"
    left = commands.build_words(ODD_WORDS, "airfleet-command-1.service").replace("/run/airfleet", str(tmp_path))
    environment = install(tmp_path, chown=f'echo "$1" > {tmp_path}/owner')
    subprocess.run(["sh", "-s"], input=left, env=environment, check=True, text=True)
    assert (tmp_path / "owner").read_text() == "airfleet\n"
    assert path.stat().st_mode & 0o777 == 0o600
    # In place of Airflow, one that says what it was told; a module of the working folder must not come first.
    package, cwd = tmp_path / "site" / "airflow", tmp_path / "cwd"
    package.mkdir(parents=True)
    cwd.mkdir()
    (cwd / "json.py").write_text("raise SystemExit('of the working folder')")
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import json, sys\ndef main(): print(json.dumps(sys.argv))\n")
    done = subprocess.run(
        [sys.executable, *words[1:-1], words[-1].replace("/run/airfleet", str(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ["airflow", *ODD_WORDS]
    assert any(word.startswith("--property=ExecStopPost=+/bin/rm -f ") for word in ahead)
    properties = [ahead[index + 1] for index, word in enumerate(ahead) if word == "--property"]
    assert properties == [
        "User=airfleet",
        'Environment="AIRFLOW_HOME=/var/lib/airfleet/server"',
        "EnvironmentFile=/etc/airfleet/server/session.env",
    ]
    assert "--pipe" in ahead
    assert "--wait" in ahead
    assert "--pty" not in ahead


def test_with_a_terminal_it_has_one_and_a_strange_one_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / "airfleet-scheduler.service"
    unit.write_text(UNIT)
    monkeypatch.setattr(commands, "UNIT", str(unit))
    told = run_there(tmp_path, commands.build_script("u", term="xterm-256color"), monkeypatch)
    assert "--pty" in told
    assert "--setenv=TERM=xterm-256color" in told
    told = run_there(tmp_path, commands.build_script("u", term="x; reboot"), monkeypatch)
    assert not any("reboot" in word for word in told)


def test_a_host_without_a_scheduler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "UNIT", str(tmp_path / "none"))
    script = commands.build_words(["info"], "u")
    done = subprocess.run(["sh", "-c", script], check=False)
    assert done.returncode == commands.NOT_SET_UP


def test_the_first_scheduler_host_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Fake:
        def __init__(self, host: Any, _: Path) -> None:  # noqa: ANN401
            self.host = host

        def open(self) -> None:
            if self.host.name == "sched1":
                raise HostError("10.0.0.21 does not answer to SSH", where="sched1")

        def close(self) -> None:
            return

    monkeypatch.setattr(commands, "HostConnection", Fake)
    said: list[str] = []
    fleet = parse()
    assert commands.reach(commands.choose(fleet, None), tmp_path, said.append).host.name == "sched2"
    assert said == ["sched1: 10.0.0.21 does not answer to SSH; sched2 does it"]
    with pytest.raises(HostError, match="does not answer"):
        commands.reach(commands.choose(fleet, "sched1"), tmp_path, said.append)
    with pytest.raises(UsageError, match="no scheduler host"):
        commands.choose(fleet, "web1")


@pytest.mark.parametrize(
    "line",
    [
        *("scheduler", "api-server --port 8080", "standalone", "dag-processor -B x", "triggerer", "celery worker"),
        *("db reset --yes", "db migrate", "db downgrade -n 3.1.0", "fab-db reset", "--verbose db reset"),
        *("celery shutdown-all-workers", "airfleet releaser"),
    ],
)
@pytest.mark.parametrize("fleet", [True, False])
def test_what_must_not_be_run_by_hand_is_refused_with_what_to_do(line: str, fleet: bool) -> None:
    with pytest.raises(UsageError) as refused:
        refusals.check(shlex.split(line), fleet=fleet)
    assert refused.value.hint
    if fleet:
        assert not re.search(r"airfleet up\b", str(refused.value))


@pytest.mark.parametrize(
    "line", ["users create -u ann", "db check", "dags list", "scheduler --help", "", "--help", "celery list-workers"]
)
def test_everything_else_is_let_through(line: str) -> None:
    refusals.check(shlex.split(line), fleet=True)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("users create -u ann --password hush", "--password"),
        ("users create -u ann -p hush", "-p"),
        ("users create -u ann -phush", "-p"),
        ("users reset-password -u ann --password=hush", "--password"),
        ("connections add db --conn-uri postgresql://a:hush@b/c", "--conn-uri"),
        ("connections add db --conn-password hush", "--conn-password"),
        ("connections add db --conn-json {}", "--conn-json"),
        ("connections add db --conn-extra {}", "--conn-extra"),
        ("variables set token hush", "variables set"),
    ],
)
def test_a_secret_in_a_command_is_told_with_what_to_do_and_not_shown(line: str, option: str) -> None:
    warning = refusals.warn_of_secret(shlex.split(line))
    assert warning
    assert option in warning
    assert "hush" not in warning


@pytest.mark.parametrize("line", ["users create -u ann", "users list", "dags list", "connections add db --conn-host x"])
def test_a_command_without_a_secret_is_warned_of_by_nobody(line: str) -> None:
    assert refusals.warn_of_secret(shlex.split(line)) is None


def test_a_fleet_is_meant_and_nothing_here_is_started(project: Path) -> None:
    for words in (["airflow", "info"], ["logs"], ["down"], ["airflow", "db", "reset"], ["down", "--now"]):
        at = ["--project", str(project)] if words[0] in ("airflow", "logs") else [str(project)]
        done = airfleet(project, words[0], *at, *words[1:])
        assert isinstance(done.exception, AirfleetError | SystemExit), done.exception
        told = f"{done.exception} {done.output}"
        assert not re.search(r"airfleet up\b", told)
        assert "no platform was ever up" not in told
        assert "nothing is up" not in told
    assert not (project / ".airfleet" / "postgres").exists()


# logs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        (journals.Question(), ["--lines=50", "--unit=airfleet-a.service", "--unit=airfleet-worker-x.service"]),
        (journals.Question("a", 7), ["--lines=7", "--unit=airfleet-a.service"]),
        (journals.Question("a", 7, "1 hour ago; reboot"), ["--since=1 hour ago; reboot", "--unit=airfleet-a.service"]),
    ],
)
def test_journalctl_is_asked_for_the_units_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: journals.Question, wanted: Sequence[str]
) -> None:
    for name in ("airfleet-a.service", "airfleet-worker-x.service", "other.service"):
        (tmp_path / name).touch()
    monkeypatch.setattr(journals, "FOLDER", str(tmp_path))
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    environment = install(bin_, journalctl='for word in "$@"; do echo "$word"; done')
    done = subprocess.run(
        ["sh", "-c", journals.build_script(question)], env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert set(wanted) <= set(lines)
    assert {line for line in lines if line.startswith("--unit")} == {one for one in wanted if one.startswith("--unit")}


def test_a_journal_that_is_followed_ends_with_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "airfleet-a.service").touch()
    monkeypatch.setattr(journals, "FOLDER", str(tmp_path))
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    environment = install(bin_, journalctl="echo begun; exec sleep 600")
    script = journals.build_script(journals.Question(follow=True))
    with subprocess.Popen(
        ["sh", "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "begun\n"
        process.stdin.close()
        assert process.stdout.read() == "", "sleep is gone too, as it held the output"


@dataclass
class Channel:
    """What a host answers, in pieces that end anywhere."""

    pieces: list[bytes]
    code: int = 0

    def shutdown_write(self) -> None:
        return

    def recv(self, _: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def recv_stderr(self, _: int) -> bytes:
        return b""

    def recv_exit_status(self) -> int:
        return self.code


def read(answers: dict[str, Channel | str], question: journals.Question) -> tuple[list[str], list[str]]:
    class Fake:
        def __init__(self, host: Any, _: Path) -> None:  # noqa: ANN401
            self.host = host

        def open(self) -> None:
            if isinstance(told := answers[self.host.name], str):
                raise HostError(told, where=self.host.name)

        def close(self) -> None:
            return

        def start(self, _: str) -> Any:  # noqa: ANN401
            return answers[self.host.name]

    lines: list[str] = []
    hosts = journals.choose(parse(), list(answers))
    connect: Any = Fake
    errors = journals.show(
        hosts, Path(), question, write=lambda host, line: lines.append(f"{host}: {line}"), connect=connect
    )
    return lines, [f"{error.where}: {error.what}" for error in errors]


def test_lines_are_whole_each_with_its_host_and_a_silent_host_is_named() -> None:
    answers: dict[str, Channel | str] = {
        "sched1": Channel([b"o", b"ne\ntw", b"o\n"]),
        "sched2": Channel([b"", b"x"][1:]),
        "web1": "does not answer",
    }
    lines, errors = read(answers, journals.Question())
    assert sorted(lines) == ["sched1: one", "sched1: two", "sched2: x"]
    assert errors == ["web1: does not answer"]


def test_a_component_that_no_host_has_is_wrong_usage_and_one_that_some_have_is_not() -> None:
    missing = Channel([b"api-server\nbalancer\n"], journals.NO_SUCH_UNIT)
    found = Channel([b"line\n"])
    lines, _ = read({"web1": missing, "sched1": found}, journals.Question("scheduler"))
    assert lines == ["sched1: line"]
    again = Channel([b"api-server\nbalancer\n"], journals.NO_SUCH_UNIT)
    with pytest.raises(UsageError, match=r"(?s)no component 'nobody'.*api-server, balancer"):
        read({"web1": again}, journals.Question("nobody"))
    with pytest.raises(UsageError, match="is no component's name"):
        read({"web1": again}, journals.Question("a; reboot"))
    with pytest.raises(UsageError, match="no host 'nobody'"):
        journals.choose(parse(), ["nobody"])


# down ----------------------------------------------------------------------------------------------------------------


@dataclass
class Shell:
    """A host whose units stop after some looks."""

    name: str
    units: list[str]
    log: list[str]
    looks: int = 1
    stopping: dict[str, int] = field(default_factory=dict)

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        del timeout_s
        if script.startswith("systemctl list-units"):
            return Output(0, "".join(f"{unit} loaded active running x\n" for unit in self.units), "")
        if script.startswith("systemctl stop"):
            for unit in script.split()[3:]:
                self.log.append(f"{self.name}: stop {unit}")
                self.stopping[unit] = self.looks
            return Output(0, "", "")
        lines = []
        for unit in [unit for unit in self.stopping if unit in script]:
            left = self.stopping[unit] = self.stopping[unit] - 1
            if left == 0:
                self.log.append(f"{self.name}: {unit} has stopped")
            lines.append(f"{unit} {'inactive' if left <= 0 else 'deactivating'}")
        return Output(0, "\n".join(lines) + "\n", "")


def test_what_makes_work_stops_first_then_what_does_it_then_what_that_needs() -> None:
    log: list[str] = []
    shells: dict[str, stopping.Shell] = {
        "s": Shell("s", ["airfleet-scheduler.service", "airfleet-node-exporter.service"], log),
        "w": Shell(
            "w", ["airfleet-worker-a.service", "airfleet-worker-logs.service", "airfleet-proxy.service"], log, 3
        ),
        "d": Shell("d", ["airfleet-postgresql.service", "airfleet-rabbitmq.service"], log),
        "a": Shell("a", ["airfleet-api-server.service", "airfleet-balancer.service"], log),
    }
    plan = stopping.look(shells)
    stopping.stop(plan, shells, notify=lambda _: None, require=lambda: None, sleep=lambda _: None)
    assert log[:5] == [
        *("s: stop airfleet-scheduler.service", "s: airfleet-scheduler.service has stopped"),
        *("w: stop airfleet-worker-a.service", "w: airfleet-worker-a.service has stopped"),
        "w: stop airfleet-worker-logs.service",
    ]
    assert log[5] == "a: stop airfleet-api-server.service"
    assert not any("postgresql" in line or "rabbitmq" in line or "balancer" in line for line in log)


def test_a_lost_lease_stops_nothing_more() -> None:
    log: list[str] = []
    shells: dict[str, stopping.Shell] = {"s": Shell("s", ["airfleet-scheduler.service"], log)}

    def lost() -> None:
        raise AirfleetError("the lease was lost")

    with pytest.raises(AirfleetError, match="lost"):
        stopping.stop(stopping.look(shells), shells, notify=lambda _: None, require=lost, sleep=lambda _: None)
    assert log == []


# doctor --------------------------------------------------------------------------------------------------------------

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
    now = [1000.0]

    class Fake:
        def __init__(self, host: Any, _: Path) -> None:  # noqa: ANN401
            self.name = host.name

        def run(self, script: str, *, timeout_s: float = 60) -> Output:
            del timeout_s
            if self.name != "cpu1":
                raise HostError("does not answer to SSH", where=self.name, hint="look whether it is up")
            if script == diagnosis.CLOCK:
                there = now[0] + trip / 2 + ahead
                now[0] += trip
                return Output(0, f"{there}\n", "")
            return Output(0, said, "")

        def close(self) -> None:
            return

    fake: Any = Fake
    fleet = parse(f"{NOBODY}ssh: {{known_hosts: known_hosts}}\n")
    if not (project / "known_hosts").exists():
        (project / "known_hosts").touch()
    return diagnosis.examine(fleet, project, StateFolder(project / ".airfleet"), shell=fake, clock=lambda: now[0])


def find(findings: Sequence[Diagnosis], subject: str) -> Diagnosis:
    return next(finding for finding in findings if finding.subject == subject)


def test_a_host_that_is_well_and_one_that_is_silent(project: Path) -> None:
    findings = examine(project, WELL)
    assert find(findings, "cpu1").level == "ok"
    silent = find(findings, "web1")
    assert (silent.level, silent.what) == ("error", "does not answer to SSH")
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
