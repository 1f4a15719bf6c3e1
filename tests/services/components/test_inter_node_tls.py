"""Erlang's nodes with the options that the nodes of a RabbitMQ cluster get: who can connect to whom."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet.components.host_model import AUTHORITIES, Place
from airfleet.components.rabbitmq import inter_node_tls
from airfleet.components.rabbitmq.server import FOLDER
from airfleet.errors import AirfleetError
from airfleet.runners.local import ports
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.spec.addresses import is_ipv6, write_dotted
from airfleet.workspace import certificate_authority
from airfleet.workspace.certificate_authority import Authority
from deadline import COMMAND_S, wait_until
from places import CREDENTIALS, NINE, parse, place

NOW = datetime.now(UTC)
NETWORK = f"127.{random.SystemRandom().randrange(64, 128)}.{random.SystemRandom().randrange(1, 255)}"
TEXT = NINE.replace("10.0.0", NETWORK).replace("roles: [scheduler]", "roles: [scheduler, broker]")
ADDRESSES = {host.name: host.address for host in parse(TEXT).hosts}
# Another node can reach a node of Erlang at a port that both know, without the server of names.
PORT = ports.find_free()
STARTS = (
    'ssl:start(), io:format("up~n"), io:get_line(""), {RELOAD}, io:format("read~n"), receive after infinity -> ok end.'
)
SIX, SIX_INTERFACE = "::1", "0,0,0,0,0,0,0,1"
CONNECTS = 'io:format("~p~n", [net_adm:ping(list_to_atom("rabbit@" ++ os:getenv("PEER")))]), halt().'


@dataclass(frozen=True)
class ErlangNode:
    """What a node of one host has: Erlang's options, and the files in a folder of its own."""

    folder: Path
    options: tuple[str, ...]

    def start(self, name: str, address: str, program: str, **env: str) -> subprocess.Popen[str]:
        interface = SIX_INTERFACE if is_ipv6(address) else address.replace(".", ",")
        words = ["erl", "-noshell", "-name", f"{name}@{write_dotted(address)}", "-setcookie", "cookie"]
        words += ["-start_epmd", "false", "-erl_epmd_port", str(PORT)]
        words += ["-kernel", "inet_dist_use_interface", f"{{{interface}}}", *self.options]
        if is_ipv6(address) and name == "tool":
            # There is one such address here, and the other node has the port.
            words += ["-dist_listen", "false"]
        words += ["-kernel", "net_setuptime", "120", "-eval", program]
        # Where the tests install RabbitMQ, Erlang is beside it.
        path = f"{find_programs().names_server.parent}:{os.environ['PATH']}"
        own = {**os.environ, "PATH": path, "HOME": str(self.folder), "ERL_CRASH_DUMP_BYTES": "0", **env}
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=own, text=True
        )


def make_node(
    folder: Path,
    name: str,
    authority: Authority,
    *,
    trusted: Authority | None = None,
    proves: str = "",
    address: str = "",
) -> ErlangNode:
    """Return the node of a host, which proves to be the host `proves`, or itself. `address` replaces the host's."""
    folder.mkdir()
    where = find_place(name)
    where = replace(where, host=replace(where.host, address=address or where.host.address))
    at = address or ADDRESSES[proves or name]
    own = certificate_authority.issue(authority, proves or name, [at, write_dotted(at)], NOW)
    (folder / "host.pem").write_text(own.certificate)
    (folder / "host.key").write_text(own.key.reveal())
    (folder / "ca.pem").write_text((trusted or authority).pem)
    text, *others = (file.content for file in inter_node_tls.list_files(where, FOLDER))
    if address:
        (folder / inter_node_tls.LOOKUPS).write_text(str(others[-1]))
    assert isinstance(text, str)
    (folder / inter_node_tls.NAME).write_text(
        text.replace(str(FOLDER), str(folder)).replace(str(AUTHORITIES), str(folder / "ca.pem"))
    )
    options = inter_node_tls.render_options(where, FOLDER).replace(str(FOLDER), str(folder))
    return ErlangNode(folder, tuple(options.split()))


def find_place(name: str) -> Place:
    return replace(place(parse(TEXT), name), credentials=CREDENTIALS)


@contextmanager
def running(node: ErlangNode, name: str, address: str = "") -> Iterator[subprocess.Popen[str]]:
    with ExitStack() as stack:
        starts = STARTS.replace("{RELOAD}", inter_node_tls.RELOAD.rstrip("."))
        process = stack.enter_context(node.start("rabbit", address or ADDRESSES[name], starts))
        stack.callback(process.kill)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        yield process


def ping(node: ErlangNode, name: str, peer: str, address: str = "") -> str:
    target = write_dotted(address or ADDRESSES[peer])
    with node.start("tool", address or ADDRESSES[name], CONNECTS, PEER=target) as process:
        # Lines around the answer say why a handshake failed.
        lines = process.communicate(timeout=COMMAND_S)[0].splitlines()
        return next(line for line in lines if line in ("pong", "pang"))


@pytest.fixture(scope="module")
def authority() -> Authority:
    try:
        find_programs()
    except AirfleetError as error:
        pytest.skip(f"{error.what}: tools/rabbitmq installs it")
    return certificate_authority.load(certificate_authority.create("flights", NOW), where="here")


def test_only_nodes_of_the_fleet_connect_and_only_to_the_host_that_they_mean(
    tmp_path: Path, authority: Authority
) -> None:
    stranger = certificate_authority.load(certificate_authority.create("another", NOW), where="there")
    with running(make_node(tmp_path / "data1", "data1", authority), "data1"):
        assert ping(make_node(tmp_path / "sched1", "sched1", authority), "sched1", "data1") == "pong"
        assert ping(ErlangNode(tmp_path / "sched1", ()), "sched1", "data1") == "pang", "without TLS"
        unknown = make_node(tmp_path / "unknown", "sched1", stranger, trusted=authority)
        assert ping(unknown, "sched1", "data1") == "pang", "a certificate of another authority"
        deceived = make_node(tmp_path / "deceived", "sched1", authority, trusted=stranger)
        assert ping(deceived, "sched1", "data1") == "pang", "a server of another authority"
    with running(make_node(tmp_path / "cpu1", "data1", authority, proves="cpu1"), "data1"):
        other = make_node(tmp_path / "sched2", "sched2", authority)
        assert ping(other, "sched2", "data1") == "pang", "another host in the place of the one that is meant"


def test_a_node_that_runs_uses_a_new_certificate_and_trusts_a_new_authority(
    tmp_path: Path, authority: Authority
) -> None:
    new = certificate_authority.load(certificate_authority.create("flights", NOW), where="here")
    node = make_node(tmp_path / "data1", "data1", authority)
    client = make_node(tmp_path / "sched1", "sched1", new)
    with running(node, "data1") as process:
        assert ping(make_node(tmp_path / "sched2", "sched2", authority), "sched2", "data1") == "pong"
        (node.folder / "ca.pem").write_text(authority.pem + new.pem)
        own = certificate_authority.issue(new, "data1", [ADDRESSES["data1"]], NOW)
        (node.folder / "host.key").write_text(own.key.reveal())
        (node.folder / "host.pem").write_text(own.certificate)
        assert process.stdin
        assert process.stdout
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "read\n"
        wait_until(lambda: ping(client, "sched1", "data1") == "pong", "the new authority")


def test_nodes_with_ipv6_addresses_connect_if_they_are_of_the_fleet(tmp_path: Path, authority: Authority) -> None:
    try:
        socket.create_server((SIX, 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip(f"this machine has no address {SIX}")
    stranger = certificate_authority.load(certificate_authority.create("another", NOW), where="there")
    with running(make_node(tmp_path / "data1", "data1", authority, address=SIX), "data1", SIX):
        own = make_node(tmp_path / "sched1", "sched1", authority, address=SIX)
        assert ping(own, "sched1", "data1", SIX) == "pong"
        unknown = make_node(tmp_path / "unknown", "sched1", stranger, trusted=authority, address=SIX)
        assert ping(unknown, "sched1", "data1", SIX) == "pang", "a certificate of another authority"
