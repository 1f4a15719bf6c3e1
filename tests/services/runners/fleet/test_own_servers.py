"""The checks of a PostgreSQL that somebody else runs, from hosts that are reached through OpenSSH's own server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

import loopback_sshd
from airfleet.components.host_model import FleetCredentials
from airfleet.components.model import OwnDatabase
from airfleet.runners.fleet.survey import own_servers
from airfleet.runners.fleet.transport.connection import HostConnection
from airfleet.spec.topology import Host, Ssh
from loopback_sshd import USER, Server
from own_servers import OUTSIDE, PASSWORD, make_owned, place_with, serve_with_passwords
from places import parse

pytestmark = pytest.mark.skipif(bool(loopback_sshd.why_not()), reason=loopback_sshd.why_not() or "-")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with loopback_sshd.serve(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def database() -> Iterator[OwnDatabase]:
    with serve_with_passwords() as server, make_owned(server, "CREATEROLE CREATEDB") as own:
        yield own


def examine(sshd: Server, folder: Path, database: OwnDatabase) -> list[tuple[str, str, str]]:
    """Return the findings of a scheduler host and a worker host as level, subject and text."""
    known = folder / "known"
    known.write_text(sshd.known)
    ssh = Ssh(USER, sshd.port, str(sshd.client_key), str(known))
    hosts = [Host("w1", "127.0.0.1", ("worker",), ssh=ssh), Host("s1", "127.0.0.1", ("scheduler",), ssh=ssh)]
    credentials: FleetCredentials = place_with(database).credentials
    with ExitStack() as stack:
        connections = [HostConnection(host, folder) for host in hosts]
        for one in connections:
            one.open()
            stack.callback(one.close)
        found = list(own_servers.examine(parse(OUTSIDE), credentials, connections))
    return [(one.level, one.subject, f"{one.what} {one.hint}") for one in found]


def test_each_host_measures_its_way_and_the_scheduler_leads_to_the_other_checks(
    sshd: Server, tmp_path: Path, database: OwnDatabase
) -> None:
    found = examine(sshd, tmp_path, database)
    assert [text.split(" takes")[0] for _, _, text in found[:2]] == ["a round trip from w1", "a round trip from s1"]
    assert "PostgreSQL" in json.dumps(found)
    assert [one for one in found if one[0] == "error" and "round trip" not in one[2]] == []
    assert PASSWORD not in json.dumps(found)


def test_a_server_that_hosts_do_not_reach_is_told_for_each_of_them(
    sshd: Server, tmp_path: Path, database: OwnDatabase
) -> None:
    found = examine(sshd, tmp_path, replace(database, port=1))
    assert [(level, subject) for level, subject, _ in found] == [("error", "w1"), ("error", "s1")]
    assert all("127.0.0.1:1 cannot be reached: Connection refused" in text for _, _, text in found)


def test_a_url_through_a_tunnel_names_the_server_for_its_certificate(database: OwnDatabase) -> None:
    far = replace(database, host="db.example")
    with psycopg.connect(far.through(database.port).reveal()) as connection:
        assert (connection.info.host, connection.info.hostaddr) == ("db.example", "127.0.0.1")
