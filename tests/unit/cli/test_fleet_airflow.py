"""`airfleet airflow` in the project of a fleet: it runs on a host of the fleet, and never on this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import commands, refusals
from airfleet.runners.fleet.transport import terminal
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.spec.topology import Host
from command_line import invoke
from deadline import PATIENCE_S
from host_programs import install
from places import NINE, parse
from shells import MadeUpConnection, name_host

# Nothing listens on port 1 of this machine, so a connection is refused at once.
REFUSING = NINE.replace("10.0.0.", "127.0.0.") + "ssh: {port: 1}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(REFUSING)
    return tmp_path


def airfleet(project: Path, *words: str) -> Any:  # noqa: ANN401 - click has its own type for it
    return invoke(*words, env={"HOME": str(project)})


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


# It gives up the rights of root, which a test may not have.
SETPRIV = '[ "$1" = --reuid=airfleet ] && shift 4 && exec "$@"'


def run_there(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the script and return the arguments of systemd-run."""
    del monkeypatch
    told = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\""
    environment = install(folder, systemd_run=told)
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def replace_variables(word: str) -> str:
    """Return a word of a command line as systemd passes it on when all its variables are escaped."""
    assert "$" not in word.replace("$$", ""), "systemd would replace it"
    return word.replace("$$", "$")


def test_airflow_runs_with_what_the_scheduler_of_that_host_runs_with_and_words_arrive_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / "airfleet-scheduler.service"
    unit.write_text(UNIT)
    monkeypatch.setattr(commands, "UNIT", str(unit))
    monkeypatch.setattr(commands, "WORDS", tmp_path / "words")
    script = commands.build_script("airfleet-command-1.service", term=None)
    told = run_there(tmp_path, script, monkeypatch)
    ahead, words = told[: told.index("--")], told[told.index("--") + 1 :]
    assert words[:2] == ["/bin/sh", "-c"]
    assert words[4] == "/opt/airfleet/0123abcd/bin/python"
    path = tmp_path / "words" / "airfleet-command-1.service.json"
    left = commands.build_words(ODD_WORDS, "airfleet-command-1.service")
    environment = install(tmp_path, chown=f'echo "$1" > {tmp_path}/owner', setpriv=SETPRIV)
    subprocess.run(["sh", "-s"], input=left, env=environment, check=True, text=True)
    assert (tmp_path / "owner").read_text() == "airfleet\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    # In place of Airflow, one that says what it was told; a module of the working folder must not come first.
    package, cwd = tmp_path / "site" / "airflow", tmp_path / "cwd"
    package.mkdir(parents=True)
    cwd.mkdir()
    (cwd / "json.py").write_text("raise SystemExit('of the working folder')")
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import json, sys\ndef main(): print(json.dumps(sys.argv))\n")
    done = subprocess.run(
        [*map(replace_variables, words[:4]), sys.executable, *map(replace_variables, words[5:])],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ["airflow", *ODD_WORDS]
    assert not path.exists()
    after = next(word for word in ahead if word.startswith("--property=ExecStopPost=")).split("=", 2)[2]
    for exit_code, is_clean in (("killed", False), ("exited", True)):
        path.touch()
        stopped = subprocess.run(
            [*map(replace_variables, shlex.split(after))], env={**os.environ, "EXIT_CODE": exit_code}, check=False
        )
        assert (stopped.returncode == 0, path.exists()) == (is_clean, False)
    properties = [ahead[index + 1] for index, word in enumerate(ahead) if word == "--property"]
    assert properties == [
        "User=airfleet",
        'Environment="AIRFLOW_HOME=/var/lib/airfleet/server"',
        "EnvironmentFile=/etc/airfleet/server/session.env",
    ]
    assert "--pipe" in ahead
    assert "--wait" in ahead
    assert "--pty" not in ahead


@pytest.mark.parametrize(
    ("number", "handler", "code"),
    [
        (signal.SIGINT, "signal.default_int_handler", 130),
        (signal.SIGTERM, "signal.SIG_DFL", 143),
        (signal.SIGHUP, "signal.SIG_DFL", 129),
        (signal.SIGTERM, "lambda *_: sys.exit(3)", 3),
    ],
)
def test_a_signal_to_all_processes_of_a_command_is_its_exit_code(
    number: signal.Signals, handler: str, code: int
) -> None:
    program = f"import signal, sys; signal.signal({int(number)}, {handler}); print('ready', flush=True); signal.pause()"
    with subprocess.Popen(
        ["/bin/sh", "-c", commands.RUN, "sh", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, number)
        assert process.wait(PATIENCE_S) == code


@pytest.mark.parametrize("starts", [True, False])
def test_an_interrupt_waits_for_a_command_that_is_about_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: bool
) -> None:
    monkeypatch.setattr(commands, "WORDS", tmp_path)
    words = commands.find_words("u")
    words.touch()
    # The unit has no process when it is asked for first. Then it has one, or the command has ended in the meantime.
    later = "echo 17" if starts else f"rm {words}; echo 0"
    show = f"[ -e {tmp_path}/asked ] && {{ {later}; true; }} || {{ touch {tmp_path}/asked; echo 0; }}"
    systemctl = f'case $1 in show) {show};; kill) echo "$@" > {tmp_path}/taken;; esac'
    environment = install(tmp_path, systemctl=systemctl)
    script = commands.build_interrupt("SIGINT", "u")
    subprocess.run(["sh", "-s"], input=script, env=environment, check=False, text=True, timeout=PATIENCE_S)
    assert (tmp_path / "taken").exists() is starts


def test_words_of_commands_that_never_began_are_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = tmp_path / "airfleet-scheduler.service"
    unit.write_text(UNIT)
    monkeypatch.setattr(commands, "UNIT", str(unit))
    monkeypatch.setattr(commands, "WORDS", tmp_path / "words")
    (tmp_path / "words").mkdir()
    lost, running, recent = map(commands.find_words, ("lost.service", "running.service", "recent.service"))
    for path in (lost, running, recent):
        path.touch()
    for path in (lost, running):
        os.utime(path, (0, 0))
    systemctl = "case $* in *running.service) echo loaded;; *) echo not-found;; esac"
    environment = install(tmp_path, chown="true", setpriv=SETPRIV, systemctl=systemctl)
    script = commands.build_words(["info"], "new.service")
    subprocess.run(["sh", "-s"], input=script, env=environment, check=True, text=True)
    assert set((tmp_path / "words").iterdir()) == {running, recent, commands.find_words("new.service")}


def test_an_interrupt_before_a_command_starts_leaves_none_of_its_words_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "WORDS", tmp_path)
    words = commands.find_words("airfleet-command-1.service")

    def answer(script: str) -> str:
        if script.startswith("rm "):
            subprocess.run(["sh", "-c", script], check=True)
        else:
            words.touch()
        return ""

    def attach(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "attach", attach)
    with pytest.raises(KeyboardInterrupt):
        commands.run(cast(Any, MadeUpConnection(answer, name_host("sched1"))), ["info"], token="1")
    assert not words.exists()


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
    def connect(host: Host, _: Path) -> MadeUpConnection:
        return MadeUpConnection(host=host, away=host.name == "sched1")

    monkeypatch.setattr(commands, "HostConnection", connect)
    said: list[str] = []
    fleet = parse()
    assert commands.reach(commands.choose(fleet, None), tmp_path, said.append).host.name == "sched2"
    assert said == ["sched1: the host does not answer; sched2 does it"]
    with pytest.raises(HostError, match="does not answer"):
        commands.reach(commands.choose(fleet, "sched1"), tmp_path, said.append)
    with pytest.raises(UsageError, match="not a scheduler host"):
        commands.choose(fleet, "web1")


@pytest.mark.parametrize(
    "line",
    [
        *("scheduler", "api-server --port 8080", "standalone", "dag-processor -B x", "triggerer", "celery worker"),
        *("db reset --yes", "db migrate", "db downgrade -n 3.1.0", "fab-db reset", "--verbose db reset"),
        *("celery shutdown-all-workers", "airfleet releaser", "dags test etl"),
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
        assert "no platform has ever run" not in told
        assert "no platform runs here" not in told
    assert not (project / ".airfleet" / "postgres").exists()
