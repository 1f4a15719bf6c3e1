"""Fleets whose hosts have IPv6 addresses: every file, program and check of every host writes them in its own way."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg
from sqlalchemy.dialects.postgresql.psycopg2 import dialect as psycopg2

from airfleet.components.host_model import OpenPort
from airfleet.components.hosts import common, database_urls
from airfleet.components.model import reveal
from airfleet.components.postgresql import server as postgresql
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.plan.diff import find_obstacles
from airfleet.runners.fleet.plan.facts import HostFacts, parse_probe
from airfleet.spec.secrets import Secret
from airfleet.workspace import certificate_authority, host_certificates
from airfleet.workspace.state_folder import StateFolder
from places import NINE, desired, parse, place, with_setting

SIX = NINE.replace("10.0.0.", "fd00:af::")
# Three of all that agrees by majority, two of all that may be a pair, and a host that is alone with its tasks.
CLUSTERS = """\
name: flights
databases: [warehouse]
allow_from: ["fd00:99::/64", 10.0.9.0/24]
reporting: {readers: ["fd00:7::5", "fd00:8::/64"], password: {env: REPORTS}}
hosts:
  w1: {address: "fd00:af::1", roles: [web, balancer, logs, monitor]}
  w2: {address: "fd00:af::2", roles: [web, balancer, logs, monitor]}
  d1: {address: "fd00:af::3", roles: [database, broker, scheduler]}
  d2: {address: "fd00:af::4", roles: [database, broker, scheduler]}
  d3: {address: "fd00:af::5", roles: [database, broker]}
  c1: {address: "fd00:af::c1", roles: [worker]}
"""
EVERYWHERE = [(text, host.name) for text in (SIX, CLUSTERS) for host in parse(text).hosts]
# An address before a port, in a URL, or as a network of IPv4.
WRONG = re.compile(r"fd00:[0-9a-f:]*:\d{3,5}\b(?!\])|(?<!rabbit)[/@]fd00:|fd00:[0-9a-f:]+/32\b|\bip saddr[^;\n]*fd00")
# RabbitMQ takes what is after the last colon for the port, and Airflow makes the name of a log server itself.
OTHERWISE = (re.compile(r"^listeners\.(tcp|ssl)\.1 = fd00:[0-9a-f:]+$"), re.compile(r'^ "fd00:[0-9a-f:]+": \{$'))
# What a script of a job holds as its input.
ENCODED = re.compile(r"<<'END_OF_INPUT'\n(.*?)\nEND_OF_INPUT", re.DOTALL)
# bash takes the address as it is.
BASH = re.compile(r"/dev/tcp/fd00:[0-9a-f:]+/\d+")


def list_texts(name: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield everything that a host gets: a name and the text."""
    want = desired(name, text)
    for file in (*want.files, *want.early):
        yield str(file.path), reveal(file.content)
    for part in want.parts:
        for job in part.jobs:
            yield job.name, ENCODED.sub(lambda found: base64.b64decode(found[1]).decode(), job.script.reveal())
    for service in want.services:
        yield service.unit, systemd_units.render(service)
        yield f"{service.unit} environment", "\n".join(f"{key}={value}" for key, value in service.env.items())
        yield f"{service.unit} check", systemd_units.check(service)


@pytest.mark.parametrize(("text", "name"), EVERYWHERE)
def test_nothing_on_any_host_has_an_ipv6_address_before_a_port_without_brackets(text: str, name: str) -> None:
    found = [
        f"{where}: {line}"
        for where, content in list_texts(name, text)
        for line in content.splitlines()
        if WRONG.search(BASH.sub("", line)) and not any(way.match(line) for way in OTHERWISE)
    ]
    assert not found


def test_the_search_sees_what_has_no_brackets() -> None:
    for wrong in ("bind fd00:af::1:8080", "http://fd00:af::1/", "fd00:af::1/32 scram", "ip saddr { fd00:af::1 } tcp"):
        assert WRONG.search(wrong), wrong
    for right in ("bind [fd00:af::1]:8080", "http://[fd00:af::1]:8080/", "fd00:af::1/128", "ip6 saddr fd00:af::1 tcp"):
        assert not WRONG.search(right), right


@pytest.mark.parametrize("role", ["web", "scheduler", "worker"])
def test_a_client_finds_every_database_host(role: str) -> None:
    fleet = parse(CLUSTERS)
    name = next(host.name for host in fleet.hosts if role in host.roles)
    where = place(fleet, name)
    hosts = ["fd00:af::3", "fd00:af::4", "fd00:af::5"]
    _, found = psycopg2().create_connect_args(make_url(database_urls.direct_dsn(where)))
    assert (found["host"], found["port"]) == (",".join(hosts), "5432,5432,5432")
    _, found = asyncpg().create_connect_args(make_url(database_urls.session_dsn(where, "asyncpg")))
    assert (found["host"], found["port"]) == (hosts, [6432, 6432, 6432])


def test_a_client_of_one_database_host_finds_it() -> None:
    _, found = psycopg2().create_connect_args(make_url(database_urls.direct_dsn(place(parse(SIX), "sched1"))))
    assert (found["host"], found["port"]) == ("fd00:af::41", 5432)


def test_the_firewall_and_postgresql_let_in_by_family() -> None:
    rules = {str(file.path): reveal(file.content) for file in desired("d1", CLUSTERS).files}
    text = rules["/etc/airfleet/firewall.nft"]
    assert "ip saddr 10.0.9.0/24 tcp dport 22 accept" in text
    assert "ip6 saddr fd00:99::/64 tcp dport 22 accept" in text
    assert "ip6 saddr { fd00:af::4, fd00:af::5 } tcp dport 8008 accept" in text
    access = postgresql.render_access(place(parse(CLUSTERS), "d1"))
    assert "hostssl airflow +airflow fd00:af::3/128 scram-sha-256" in access
    assert "hostssl airflow airfleet_reporting fd00:7::5/128 scram-sha-256" in access
    assert "hostssl airflow airfleet_reporting fd00:8::/64 scram-sha-256" in access


def test_a_rule_for_addresses_of_both_families_is_two() -> None:
    both = OpenPort(22, ("10.0.0.1", "fd00:af::1"), "SSH")
    lines = [line.strip() for line in common.render_firewall((both,)).splitlines() if "dport 22" in line]
    assert [line.split(" tcp")[0] for line in lines] == ["ip saddr 10.0.0.1", "ip6 saddr fd00:af::1"]


def test_nodes_of_rabbitmq_speak_ipv6_to_each_other() -> None:
    service = next(one for one in desired("d1", CLUSTERS).services if one.name == rabbitmq.NAME)
    assert service.env["RABBITMQ_NODENAME"] == "rabbit@fd00:af:0:0:0:0:0.0.0.3"
    options = service.env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert "-kernel inetrc '/etc/airfleet/rabbitmq/inetrc' -proto_dist inet6_tls" in options
    assert "inet_dist_use_interface {64768,175,0,0,0,0,0,3}" in options
    alone = next(one for one in desired("data1", SIX).services if one.name == rabbitmq.NAME)
    assert "inet6" not in alone.env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"], "it speaks to tools of its host only"


def test_a_web_host_asks_for_the_log_of_a_task_at_the_url_of_its_host() -> None:
    files = {str(file.path): reveal(file.content) for file in desired("web2", SIX).files}
    listed = json.loads(next(text for path, text in files.items() if path.endswith("log_servers.json")))
    # The key is what Airflow writes: the host name of the task, a colon and the port.
    assert listed["fd00:af::31:8793"]["url"] == "https://[fd00:af::31]:8793"


def test_a_host_without_its_ipv6_address_is_refused() -> None:
    want = desired("cpu1", SIX)
    machine = replace(want.place.machine, addresses=("127.0.0.1",))
    elsewhere = replace(want, place=replace(want.place, machine=machine))
    found = [one.what for one in find_obstacles(elsewhere, parse_probe(""), HostFacts())]
    assert "the host does not have the address fd00:af::31 itself" in found


def test_addresses_are_written_as_the_machines_write_them() -> None:
    text = with_setting(SIX, "fd00:af::31", "'FD00:00AF:0::0031'")
    assert [host.address for host in parse(text).hosts if host.name == "cpu1"] == ["fd00:af::31"]
    assert parse(SIX).public_url == "http://[fd00:af::11]:8080"


def test_a_host_proves_the_form_of_its_address_that_nodes_of_rabbitmq_have(tmp_path: Path) -> None:
    (folder := StateFolder(tmp_path)).secrets.mkdir(parents=True)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    steps = dict.fromkeys(("broker", "api", "agents", "logs", "metrics", "cluster"), Secret("used"))
    authority = certificate_authority.create("flights", now)
    proofs = host_certificates.read(folder, authority, parse(CLUSTERS).hosts, now, **steps).certificates
    found = x509.load_pem_x509_certificate(proofs["d1"].certificate.encode())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert IPv6Address("fd00:af::3") in names.get_values_for_type(x509.IPAddress)
    assert "fd00:af:0:0:0:0:0.0.0.3" in names.get_values_for_type(x509.DNSName)
    again = host_certificates.read(folder, authority, parse(CLUSTERS).hosts, now, **steps).certificates
    assert again == proofs, "it is not due at once"
