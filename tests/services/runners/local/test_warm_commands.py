"""A command from the warm process is as one that was started: words, streams, environment, folder, signals and code."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from airfleet.runners.local import processes, warm
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.fork_protocol import COMMANDS, GREETING
from deadline import PATIENCE_S, wait_until

FAKE_AIRFLOW = """
import json, os, signal, sys, time

def main():
    match sys.argv[1]:
        case "tell":
            umask = os.umask(0)
            told = {"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "umask": umask,
                    "tty": [os.isatty(n) for n in range(3)], "stdin": sys.stdin.read() if not os.isatty(0) else ""}
            print(json.dumps(told))
            print("talk", file=sys.stderr)
        case "exit":
            sys.exit(int(sys.argv[2]))
        case "words":
            sys.exit("in words")
        case "crash":
            raise ValueError("broken")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            try:
                print("waits", flush=True)
                time.sleep(600)
            finally:
                print("ends", flush=True)
"""
CLIENT = """
import os, sys
from pathlib import Path
from airfleet.runners.local import processes, warm
from airfleet.workspace.state_folder import StateFolder
warm.GREETED_S = 300.0  # the image answers late on a busy machine
code = warm.run(StateFolder(Path(sys.argv[1])), sys.argv[2:], dict(os.environ))
sys.exit(99 if code is None else code)
"""


@dataclass
class Platform:
    folder: StateFolder
    image: subprocess.Popen[bytes]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", CLIENT, str(self.folder.root), *words]

    def run(self, *words: str, text: str = "", cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            cwd=cwd,
            env={**os.environ, **env},
        )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform of all tests that do not end it."""
    with start(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    with start(tmp_path) as platform:
        yield platform


@contextmanager
def start(home: Path) -> Iterator[Platform]:
    package = home / "lib" / "airflow"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE_AIRFLOW)
    folder = StateFolder(home / "state")
    folder.create()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{home / 'lib'}:{os.environ.get('PYTHONPATH', '')}",
        "AIRFLOW_HOME": str(folder.root / "airflow"),
        "OF_THE_IMAGE": "1",
        "PYTHONUNBUFFERED": "1",  # as every process of a platform
    }
    command = [sys.executable, "-m", "airfleet_provider.processes.fork_server", str(theirs.fileno())]
    image = subprocess.Popen(
        command,
        env=environment,
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # as the supervisor does
    )
    theirs.close()
    with folder.lock(), ours:
        assert ours.recv(64) == b"warm"
        yield Platform(folder, image)
        ours.close()
        image.wait(PATIENCE_S)


def test_words_input_folder_and_environment_are_the_caller_s(platform: Platform, tmp_path: Path) -> None:
    odd = ("tell", "a b", "it's", "", "é", "$HOME", "-x", "a\nb")
    done = platform.run(*odd, text="typed\n", cwd=tmp_path, OWN="1")
    told = json.loads(done.stdout)
    assert told["argv"] == ["airflow", *odd]
    assert (told["stdin"], told["cwd"], told["tty"]) == ("typed\n", str(tmp_path), [False] * 3)
    assert told["env"]["OWN"] == "1"
    assert "OF_THE_IMAGE" not in told["env"]
    assert (done.stderr, done.returncode) == ("talk\n", 0)


@pytest.mark.parametrize(
    ("words", "code"), [(["exit", "7"], 7), (["exit", "0"], 0), (["words"], 1), (["crash"], 1), (["kill"], 137)]
)
def test_the_exit_code_is_the_command_s(platform: Platform, words: list[str], code: int) -> None:
    done = platform.run(*words)
    assert done.returncode == code
    assert ("broken" in done.stderr) == (words == ["crash"])
    assert ("in words" in done.stderr) == (words == ["words"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_caller_ends_the_command(platform: Platform, number: signal.Signals) -> None:
    with subprocess.Popen(platform.command("wait"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "waits\n"
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 128 + number
        assert process.stdout.read() == ("ends\n" if number == signal.SIGINT else "")


def test_a_caller_that_is_killed_leaves_no_command(platform: Platform) -> None:
    with subprocess.Popen(platform.command("wait"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "waits\n"
        process.kill()
        assert process.stdout.read() == "", "the output is closed: nobody is left who holds it"


def test_a_terminal_stays_one(platform: Platform) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, platform.command("tell"))
    said = b""
    try:
        while data := os.read(terminal, 4096):
            said += data
    except OSError:
        pass  # the terminal has gone with its last user
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    assert json.loads(said.split(b"\r\n")[0])["tty"] == [True] * 3


def test_two_commands_run_side_by_side_and_the_image_stays(platform: Platform) -> None:
    with subprocess.Popen(platform.command("wait"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "waits\n"
        assert platform.run("exit", "3").returncode == 3
        process.terminate()
        process.wait(PATIENCE_S)
    assert platform.image.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_ends_with_an_image_that_is_killed(own_platform: Platform, number: signal.Signals) -> None:
    """The supervisor then ends what is left of the image's session. A command is in a session of its own."""
    with subprocess.Popen(
        own_platform.command("wait"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "waits\n"
        own_platform.image.kill()
        own_platform.image.wait(PATIENCE_S)
        processes.end(processes.find_members((own_platform.image.pid,)), grace_s=PATIENCE_S, first=number)
        output, said = process.communicate(timeout=PATIENCE_S)
    assert (output, process.returncode) == ("", 1), "the output is closed: nobody is left who holds it"
    assert "and the command with it" in said


def test_without_a_warm_process_nothing_was_begun(own_platform: Platform, tmp_path: Path) -> None:
    assert own_platform.run("db", "shell").returncode == 99, "psql wants a terminal of its own"
    own_platform.image.kill()
    own_platform.image.wait(PATIENCE_S)
    assert own_platform.run("exit", "3").returncode == 99
    assert warm.run(StateFolder(tmp_path / "nowhere"), ["exit", "3"], {}) is None


def test_an_image_that_hangs_is_named_and_nothing_was_begun(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warm, "GREETED_S", 0.2)
    platform.image.send_signal(signal.SIGSTOP)
    try:
        assert warm.run(platform.folder, ["exit", "3"], dict(os.environ)) is None
    finally:
        platform.image.send_signal(signal.SIGCONT)
    assert "image has not answered for" in capsys.readouterr().err
    assert platform.run("exit", "3").returncode == 3


def test_a_client_that_says_nothing_keeps_nobody_waiting(platform: Platform) -> None:
    path = str(platform.folder.root / "airflow" / COMMANDS)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.connect(path)
        assert silent.recv(64) == GREETING
        assert platform.run("exit", "3").returncode == 3
        silent.send(b"nonsense")
        assert silent.recv(64) == b""
    wait_until(lambda: platform.run("exit", "3").returncode == 3, "it still serves")


def test_no_other_user_gets_through(platform: Platform) -> None:
    path = platform.folder.root / "airflow" / COMMANDS
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
