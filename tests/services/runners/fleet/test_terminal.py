"""A command through a real SSH server is as one that runs here: input, output, exit code, signals, terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deadline import PATIENCE_S, wait_until
from loopback_sshd import USER, Server, serve, why_not
from terminals import open_terminal

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the login must be root's, as no sudo is set up here"),
]

CLIENT = """
import signal, sys
from pathlib import Path
from airfleet.runners.fleet.transport import terminal
from airfleet.runners.fleet.transport.connection import HostConnection
from airfleet.spec.topology import Host, Ssh

signal.alarm(120)  # no test waits for it for ever
user, port, key, known, script = sys.argv[1:]
host = Host("one", "127.0.0.1", ("worker",), ssh=Ssh(user=user, port=int(port), key=key, known_hosts=known))
connection = HostConnection(host, Path("/"))
connection.open()
interrupt = lambda name: connection.run(f"kill -{name.removeprefix('SIG')} $(cat {Path(known).parent}/there)")
sys.exit(terminal.attach(connection, script, terminal=terminal.is_terminal(), interrupt=interrupt))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("sshd")) as made:
        (made.folder / "known").write_text(made.known)
        yield made


def command(server: Server, script: str) -> list[str]:
    known = str(server.folder / "known")
    return [sys.executable, "-c", CLIENT, USER, str(server.port), str(server.client_key), known, script]


def test_input_output_and_exit_code_pass_through(server: Server, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as source:
        done = subprocess.run(
            command(server, "echo talk >&2; cat; exit 7"),
            stdin=source,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert (done.stdout == data, done.stderr, done.returncode) == (True, b"talk\n", 7)


def test_a_command_that_reads_nothing_does_not_wait_for_input(server: Server) -> None:
    with subprocess.Popen(command(server, "echo done"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.wait(PATIENCE_S) == 0
        assert process.stdout
        assert process.stdout.read() == b"done\n"


def test_a_command_that_has_closed_its_output_is_waited_for_at_rest(server: Server) -> None:
    used_s = []
    for script in ("sleep 1", "exec >&- 2>&-; sleep 1"):
        process = subprocess.Popen(command(server, script), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        used_s.append(used.ru_utime + used.ru_stime)
    assert used_s[1] < used_s[0] + 0.5, "it asked again and again"


def test_a_signal_is_the_command_s(server: Server) -> None:
    note = f"echo $$ > {server.folder}/there"
    script = f"{note}; trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(command(server, script), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"caught\n"
        assert process.wait(PATIENCE_S) == 3


def test_a_reader_who_leaves_ends_the_command(server: Server) -> None:
    script = f"echo $$ > {server.folder}/there; while sleep 0.02; do echo line; done"
    with subprocess.Popen(command(server, script), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(PATIENCE_S) != 0
    there = (server.folder / "there").read_text().strip()
    wait_until(lambda: not Path(f"/proc/{there}").exists(), "it is gone")


def test_a_terminal_is_one_there_and_its_keys_are_the_command_s(server: Server) -> None:
    # The shell itself waits: Ctrl-C that comes while it starts a last command is not that command's.
    script = "trap 'echo caught; exit 4' INT; stty size; echo $TERM; while :; do sleep 0.1; done"
    with open_terminal(command(server, script), environment={**os.environ, "TERM": "vt102"}) as terminal:
        terminal.read_until(b"vt102")
        terminal.type(b"\x03")
        assert terminal.wait() == 4, terminal.said
        assert b"caught" in terminal.said
