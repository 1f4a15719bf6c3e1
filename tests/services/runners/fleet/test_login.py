"""How hosts are reached, with OpenSSH's own server on the loopback: whose keys are trusted, and through which hosts."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import loopback_sshd
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport import login
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.runners.fleet.transport.login import HostKeyPolicy
from airfleet.spec.topology import Host, Ssh
from deadline import PATIENCE_S, wait_until
from loopback_sshd import USER, Server, make_key, serve

pytestmark = pytest.mark.skipif(bool(loopback_sshd.why_not()), reason=loopback_sshd.why_not() or "-")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("sshd")) as one:
        yield one


def write_config(folder: Path, *lines: str) -> Path:
    """An SSH configuration that knows no host but by the file `known`."""
    path = folder / "ssh_config"
    first = (f"UserKnownHostsFile {folder / 'known'}", "GlobalKnownHostsFile /dev/null", "IdentityAgent none")
    path.write_text("\n".join([*lines, "Host *", *(f"  {line}" for line in first), ""]))
    return path


def host_of(server: Server, **ssh: str) -> Host:
    words = {"user": USER, "key": str(server.client_key), **ssh}
    return Host(
        "h1", "127.0.0.1", ("web",), ssh=Ssh(words["user"], server.port, words["key"], words.get("known_hosts"))
    )


def enter(server: Server, folder: Path, *lines: str, told: list[str] | None = None, **ssh: str) -> None:
    """Log in and out again; with `told` new hosts are accepted."""
    policy = HostKeyPolicy(welcome=None if told is None else told.append, config=write_config(folder, *lines))
    login.open_login(host_of(server, **ssh), folder, policy).close()


def fingerprint(server: Server) -> str:
    text = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_key.pub")], capture_output=True, text=True, check=True
    )
    return text.stdout.split()[1]


def test_a_host_whose_key_is_known_is_reached(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(server.known)
    enter(server, tmp_path)


def test_an_unknown_host_is_refused_with_its_fingerprint_and_nothing_is_written(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AirfleetError, match="is not known") as error:
        enter(server, tmp_path)
    assert fingerprint(server) in error.value.what
    assert "--accept-new-hosts" in error.value.hint
    assert not (tmp_path / "known").exists()


@pytest.mark.parametrize("said", ["no", "off", "accept-new", "ask"])
def test_a_loose_ssh_configuration_lets_no_unknown_host_in(server: Server, tmp_path: Path, said: str) -> None:
    with pytest.raises(AirfleetError, match="is not known"):
        enter(server, tmp_path, f"StrictHostKeyChecking {said}")


def test_a_new_host_that_is_accepted_is_told_and_is_known_from_then_on(server: Server, tmp_path: Path) -> None:
    told: list[str] = []
    enter(server, tmp_path, told=told)
    assert fingerprint(server) in told[0]
    assert (tmp_path / "known").stat().st_mode & 0o077 == 0
    again: list[str] = []
    enter(server, tmp_path, told=again)
    enter(server, tmp_path)
    assert not again


def test_names_are_hashed_where_the_ssh_configuration_says_so(server: Server, tmp_path: Path) -> None:
    enter(server, tmp_path, "HashKnownHosts yes", told=[])
    assert "127.0.0.1" not in (tmp_path / "known").read_text()
    enter(server, tmp_path)


def test_what_is_written_is_read_by_openssh(server: Server, tmp_path: Path) -> None:
    enter(server, tmp_path, told=[])
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{server.port}", "-f", str(tmp_path / "known")],
        check=False,
        text=True,
        capture_output=True,
    )
    assert server.public_key in found.stdout


def test_a_stricter_ssh_configuration_holds_though_new_hosts_are_accepted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AirfleetError, match="is not known") as error:
        enter(server, tmp_path, "StrictHostKeyChecking yes", told=[])
    assert "StrictHostKeyChecking yes" in error.value.hint
    assert not (tmp_path / "known").exists()


def test_a_stricter_setting_in_an_included_file_holds_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host 127.*\n  StrictHostKeyChecking yes\n")
    with pytest.raises(AirfleetError) as error:
        enter(server, tmp_path, f"Include {tmp_path / 'more'}", told=[])
    assert "StrictHostKeyChecking yes" in error.value.hint


@pytest.mark.parametrize("accepts", [False, True])
def test_a_changed_key_is_refused_always(server: Server, tmp_path: Path, accepts: bool) -> None:
    before = f"[127.0.0.1]:{server.port} {make_key(tmp_path / 'other')}\n"
    (tmp_path / "known").write_text(before)
    with pytest.raises(AirfleetError, match="is not the known one") as error:
        enter(server, tmp_path, told=[] if accepts else None)
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in error.value.hint
    assert (tmp_path / "known").read_text() == before


def test_a_key_of_another_type_than_the_known_one_is_a_changed_key(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {make_key(tmp_path / 'other', 'ecdsa')}\n")
    with pytest.raises(AirfleetError, match="is not the known one"):
        enter(server, tmp_path, told=[])


@pytest.mark.parametrize("line", ["[127.0.0.1]:1 ssh-ed25519", "x ssh-ed25519 AAAA", "one word", "@odd a b c"])
def test_a_file_with_a_broken_line_lets_nobody_in(server: Server, tmp_path: Path, line: str) -> None:
    other = f"[127.0.0.1]:{server.port} {make_key(tmp_path / 'other')}\n"
    for text in (f"{line}\n{other}", f"{line}\n{server.known}"):
        (tmp_path / "known").write_text(text)
        with pytest.raises(AirfleetError, match="cannot be read") as error:
            enter(server, tmp_path, told=[])
        assert error.value.where == f"{tmp_path / 'known'}:1"


def test_a_revoked_key_is_refused_though_it_is_known(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"{server.known}@revoked * {server.public_key}\n")
    with pytest.raises(AirfleetError, match="revoked"):
        enter(server, tmp_path, told=[])


def test_a_key_that_the_user_s_file_revokes_is_refused_though_the_fleet_names_another(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text(server.known)
    (tmp_path / "known").write_text("no line of known hosts\n")
    enter(server, tmp_path, known_hosts="hosts")
    (tmp_path / "known").write_text(f"@revoked * {make_key(tmp_path / 'another')}\n")
    enter(server, tmp_path, known_hosts="hosts")
    (tmp_path / "known").write_text(f"no line of known hosts\n@revoked * {server.public_key}\n")
    with pytest.raises(AirfleetError, match="a key that is revoked"):
        enter(server, tmp_path, known_hosts="hosts", told=[])
    (tmp_path / "known").write_text("@revoked * ssh-ed25519\n")
    with pytest.raises(AirfleetError, match="cannot be read"):
        enter(server, tmp_path, known_hosts="hosts", told=[])


@pytest.mark.parametrize("is_binary", [False, True])
@pytest.mark.parametrize("is_named_by_the_fleet", [False, True])
def test_a_key_that_the_ssh_configuration_revokes_is_refused_though_it_is_known(
    server: Server, tmp_path: Path, is_binary: bool, is_named_by_the_fleet: bool
) -> None:
    (tmp_path / "known").write_text(server.known)
    options = {"known_hosts": "known"} if is_named_by_the_fleet else {}
    one, revoked = tmp_path / "one.pub", tmp_path / "revoked"
    setting = f"RevokedHostKeys {revoked}"
    for line, is_refused in ((server.public_key, True), (make_key(tmp_path / "another"), False)):
        one.write_text(f"{line}\n")
        revoked.write_text(f"# lost in March\n\n{line}\n")
        if is_binary:
            subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(revoked), str(one)], check=True)
        if is_refused:
            with pytest.raises(AirfleetError, match="a key that is revoked"):
                enter(server, tmp_path, setting, told=[], **options)
        else:
            enter(server, tmp_path, setting, told=None, **options)


@pytest.mark.parametrize("content", [None, b"rubbish\n", b"SSHKRL\n\0rubbish"])
def test_a_file_of_revoked_keys_that_cannot_be_read_lets_nobody_in(
    server: Server, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "known").write_text(server.known)
    if content:
        (tmp_path / "revoked").write_bytes(content)
    with pytest.raises(AirfleetError, match="cannot be read"):
        enter(server, tmp_path, f"RevokedHostKeys {tmp_path / 'revoked'}", told=[])


def test_a_file_that_the_fleet_names_has_to_be_there_and_is_the_only_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(server.known)
    with pytest.raises(AirfleetError, match="no such file of known hosts"):
        enter(server, tmp_path, known_hosts="hosts", told=[])
    assert not (tmp_path / "hosts").exists()
    (tmp_path / "hosts").touch()
    with pytest.raises(AirfleetError, match="is not known"):
        enter(server, tmp_path, known_hosts="hosts")
    enter(server, tmp_path, known_hosts="hosts", told=[])
    assert server.public_key in (tmp_path / "hosts").read_text()


def test_a_refused_key_and_a_key_that_is_none_are_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(server.known)
    make_key(tmp_path / "stranger")
    make_key(tmp_path / "locked", passphrase="secret words")
    for key, what in (("stranger", "refuses the login"), ("locked", "has a passphrase"), ("known", "no private key")):
        with pytest.raises(AirfleetError, match=what):
            enter(server, tmp_path, key=str(tmp_path / key))
    with pytest.raises(AirfleetError, match="no such key file"):
        enter(server, tmp_path, key="nowhere")


def test_keys_of_the_agent_and_of_the_ssh_configuration_let_in(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(server.known)
    host = Host("h1", "127.0.0.1", ("web",), ssh=Ssh(USER, server.port))
    config = write_config(tmp_path, f"IdentityFile {server.client_key}")
    login.open_login(host, tmp_path, HostKeyPolicy(config=config)).close()
    agent = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
    try:
        wait_until(agent.exists, "the agent listens")
        environ = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
        subprocess.run(["ssh-add", "-q", str(server.client_key)], check=True, env=environ)
        public = server.client_key.with_name("client_key.pub")
        for lines in ((), ("IdentitiesOnly yes", f"IdentityFile {public}")):
            config = write_config(tmp_path, f"IdentityAgent {agent}", *lines)
            login.open_login(host, tmp_path, HostKeyPolicy(config=config)).close()
        config = write_config(tmp_path, f"IdentityAgent {agent}", "IdentitiesOnly yes", "IdentityFile /nowhere")
        with pytest.raises(AirfleetError, match="there is no key to show"):
            login.open_login(host, tmp_path, HostKeyPolicy(config=config))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_a_port_where_nobody_listens_and_a_name_that_nobody_has_are_told(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    for address, what in (
        ("127.0.0.1", "127.0.0.1:1 does not answer to SSH"),
        ("no.such.invalid", "cannot be resolved"),
    ):
        host = Host("h1", address, ("web",), ssh=Ssh(USER, 1))
        with pytest.raises(AirfleetError, match=what):
            login.open_login(host, tmp_path, HostKeyPolicy(config=config))


@contextmanager
def greet(port: int) -> Iterator[socket.socket]:
    """A connection to an SSH server that has said what it is."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as one:
        assert one.recv(8).startswith(b"SSH-2.0")
        yield one


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("jump")) as one:
        yield one


def lead_through(server: Server, jump: Server) -> tuple[str, ...]:
    """A host that nobody reaches but through another one, as in a private subnet."""
    return (
        f"Host 10.99.0.1\n  HostName 127.0.0.1\n  ProxyJump {USER}@jump\n",
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {jump.client_key}\n",
    )


def hidden(server: Server) -> Host:
    return Host("h1", "10.99.0.1", ("web",), ssh=Ssh(USER, server.port, str(server.client_key)))


@pytest.mark.skipif(os.geteuid() != 0, reason="scripts run as root on a host, and this user is not")
@pytest.mark.parametrize("by", ["jump", "command"])
def test_a_host_behind_another_one_runs_scripts_and_leads_to_ports(
    server: Server, jump: Server, tmp_path: Path, by: str
) -> None:
    (tmp_path / "known").write_text(server.known + jump.known)
    lines = lead_through(server, jump)
    if by == "command":
        config = write_config(tmp_path, *lines)
        lines = (f"Host 10.99.0.1\n  HostName 127.0.0.1\n  ProxyCommand ssh -F {tmp_path / 'inner'} -W %h:%p jump\n",)
        config.rename(tmp_path / "inner")
    before = jump.read_log().count("Accepted publickey")
    connection = HostConnection(hidden(server), tmp_path, config=write_config(tmp_path, *lines))
    connection.open()
    try:
        assert connection.check("echo said; id -u") == "said\n0\n"
        assert connection.ssh_port == server.port
        with connection.forward("127.0.0.1", server.port) as port, greet(port):
            pass
    finally:
        connection.close()
    assert jump.read_log().count("Accepted publickey") == before + 1


def test_a_host_behind_two_others_is_reached_through_both(server: Server, jump: Server, tmp_path: Path) -> None:
    with serve(tmp_path / "inner") as inner:
        (tmp_path / "known").write_text(server.known + jump.known + inner.known)
        _, way = lead_through(server, jump)
        config = write_config(
            tmp_path,
            f"Host 10.99.0.1\n  HostName 127.0.0.1\n  ProxyJump {USER}@jump,{USER}@inner\n",
            way,
            f"Host inner\n  HostName 127.0.0.1\n  Port {inner.port}\n  IdentityFile {inner.client_key}\n",
        )
        logins = [log.read_log().count("Accepted publickey") for log in (jump, inner, server)]
        login.open_login(hidden(server), tmp_path, HostKeyPolicy(config=config)).close()
        assert [log.read_log().count("Accepted publickey") for log in (jump, inner, server)] == [n + 1 for n in logins]


def test_a_jump_host_is_known_too_or_refused(server: Server, jump: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(server.known)
    config = write_config(tmp_path, *lead_through(server, jump))
    with pytest.raises(AirfleetError, match=r"the jump host: the host key of 127.0.0.1:.* is not known"):
        login.open_login(hidden(server), tmp_path, HostKeyPolicy(config=config))
    told: list[str] = []
    login.open_login(hidden(server), tmp_path, HostKeyPolicy(welcome=told.append, config=config)).close()
    assert [fingerprint(jump) in line for line in told] == [True]


def test_a_host_that_is_away_behind_a_jump_host_is_one_error_of_its_own(
    server: Server, jump: Server, tmp_path: Path
) -> None:
    (tmp_path / "known").write_text(server.known + jump.known)
    config = write_config(tmp_path, *lead_through(server, jump))
    away = Host("h1", "10.99.0.1", ("web",), ssh=Ssh(USER, 1, str(server.client_key)))
    with pytest.raises(HostError, match=r"127\.0\.0\.1:1 does not answer through the jump host") as error:
        HostConnection(away, tmp_path, config=config).open()
    assert error.value.where == "h1"


def test_a_busy_jump_host_is_asked_again(server: Server, tmp_path: Path) -> None:
    """Many hosts are looked at at once, and sshd turns connections away while so many are not logged in yet."""
    with serve(tmp_path / "busy", "MaxStartups 1:100:1") as busy:
        (tmp_path / "known").write_text(server.known + busy.known)
        config = write_config(tmp_path, *lead_through(server, busy))
        with greet(busy.port) as first:
            # As long as this one is not logged in, the server takes no other.
            leaves = threading.Timer(1.0, first.shutdown, [socket.SHUT_RDWR])
            leaves.start()
            login.open_login(hidden(server), tmp_path, HostKeyPolicy(config=config)).close()
            leaves.join()
        assert "MaxStartups" in busy.read_log()


def test_a_proxy_command_that_leads_nowhere_is_told(server: Server, tmp_path: Path) -> None:
    config = write_config(tmp_path, "Host 10.99.0.1\n  ProxyCommand false\n")
    with pytest.raises(AirfleetError, match="through the ProxyCommand"):
        login.open_login(hidden(server), tmp_path, HostKeyPolicy(config=config))
