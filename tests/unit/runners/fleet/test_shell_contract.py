"""Shells of hosts behave alike over SSH, on this machine, and made up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet.runners.fleet.transport.connection import HostConnection, HostError, Output
from airfleet.runners.fleet.transport.shell import HostShell, NamedShell
from airfleet.spec.topology import Host, Ssh
from loopback_sshd import USER, serve, why_not
from shells import MadeUpConnection, MadeUpShell, ShellHere, name_host

# Each script, and how it ends.
SCRIPTS = {
    "echo said; echo told >&2": Output(0, "said\n", "told\n"),
    "exit 7": Output(7, "", ""),
    "read -r line || echo nothing": Output(0, "nothing\n", ""),
    "printf '%s' \"it's \\$HOME\"": Output(0, "it's $HOME", ""),
}
SLOW = "sleep 60"


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with a real SSH server, on the loopback."""
    if reason := why_not():
        pytest.skip(reason)
    if os.geteuid() != 0:
        pytest.skip("the login must be root's, as no sudo is set up here")
    with serve(tmp_path_factory.mktemp("sshd")) as server:
        known = server.folder / "known"
        known.write_text(server.known)
        ssh = Ssh(user=USER, port=server.port, key=str(server.client_key), known_hosts=str(known))
        yield Host("one", "127.0.0.1", ("worker",), ssh=ssh)


@pytest.fixture(scope="module")
def over_ssh(reached: Host) -> Iterator[HostShell]:
    shell = HostShell(reached, Path("/"))
    yield shell
    shell.close()


@pytest.fixture(params=["over SSH", "on this machine", "made up"])
def shell(request: pytest.FixtureRequest) -> NamedShell:
    match request.param:
        case "over SSH":
            found: NamedShell = request.getfixturevalue("over_ssh")
            return found
        case "on this machine":
            return ShellHere()
        case _:
            return MadeUpShell(lambda script: SCRIPTS.get(script, Output(124, "", "")))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_told_by_its_code_its_output_and_its_errors(shell: NamedShell, script: str) -> None:
    assert shell.run(script) == SCRIPTS[script]


def test_a_script_that_takes_too_long_ends_with_the_code_of_timeout(shell: NamedShell) -> None:
    assert shell.run(SLOW, timeout_s=0.2).code == 124


@pytest.mark.parametrize("kind", ["over SSH", "made up"])
def test_a_host_that_is_away_is_an_error_with_its_name_and_a_hint(tmp_path: Path, kind: str) -> None:
    host = Host("gone", "127.0.0.1", (), ssh=Ssh(port=1, known_hosts=str(tmp_path / "none")))
    shell = HostShell(host, tmp_path) if kind == "over SSH" else MadeUpShell(lambda _: "", host, away=True)
    connection = HostConnection(host, tmp_path) if kind == "over SSH" else MadeUpConnection(host=host, away=True)
    for reach in (lambda: shell.run("true"), connection.open):
        with pytest.raises(HostError) as error:
            reach()
        assert error.value.where == "gone"
        assert error.value.hint


# Named pieces of work: a script, and how it ends.
WORK = {
    "to say it": ("echo said", Output(0, "said\n", "")),
    "to break it": ("echo why >&2; exit 7", Output(7, "", "why\n")),
}


@pytest.fixture(params=["over SSH", "made up"])
def connection(request: pytest.FixtureRequest) -> Iterator[HostConnection | MadeUpConnection]:
    if request.param == "made up":
        yield MadeUpConnection(host=name_host("one"), perform=lambda what: WORK[what][1])
        return
    made = HostConnection(request.getfixturevalue("reached"), Path("/"))
    made.open()
    yield made
    made.close()
    made.close()  # whoever cleans up need not know whether somebody did


def test_work_that_ends_well_tells_what_it_said(connection: HostConnection | MadeUpConnection) -> None:
    script, output = WORK["to say it"]
    assert connection.check(script, what="to say it") == output.out


def test_work_that_ends_badly_is_an_error_with_its_name_its_cause_and_its_host(
    connection: HostConnection | MadeUpConnection,
) -> None:
    with pytest.raises(HostError) as error:
        connection.check(WORK["to break it"][0], what="to break it")
    assert error.value.what == "to break it failed: why"
    assert error.value.where == "one"
    assert error.value.hint
