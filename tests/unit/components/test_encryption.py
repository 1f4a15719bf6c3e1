"""TLS between hosts, step by step: servers accept what clients of the same step and of the next one use."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import cast

import pytest
import yaml

from airfleet.components import metadata
from airfleet.components.host_model import AUTHORITIES, Part, Place, TlsProgress
from airfleet.components.hosts import host_parts
from airfleet.components.postgresql import patroni, pgbouncer
from airfleet.components.postgresql import server as postgresql
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.runners.fleet.plan import systemd_units
from places import CREDENTIALS, NINE, parse, place, with_setting

PEERS = with_setting(NINE, "[web, monitor]", "[web, monitor, database]")


def describe(name: str, *, is_used: bool, is_required: bool) -> tuple[Part, ...]:
    encryption = replace(CREDENTIALS.encryption, is_used=is_used, is_required=is_required)
    where = replace(place(parse(PEERS), name), credentials=replace(CREDENTIALS, encryption=encryption))
    return host_parts.describe(where, ssh_ports=(22,))


def read(parts: tuple[Part, ...]) -> dict[str, str]:
    texts = {}
    for part in parts:
        for file in part.files:
            texts[str(file.path)] = file.content if isinstance(file.content, str) else file.content.reveal()
    return texts


@pytest.mark.parametrize("is_required", [False, True])
def test_servers_refuse_what_is_not_encrypted_only_once_they_all_encrypt(is_required: bool) -> None:
    texts = read(describe("data1", is_used=True, is_required=is_required))
    remote = [line for line in texts["/etc/airfleet/postgresql/pg_hba.conf"].splitlines() if "10.0.0." in line]
    assert remote
    assert {line.split()[0] for line in remote} == {"hostssl" if is_required else "host"}
    mode = "require" if is_required else "allow"
    assert f"client_tls_sslmode = {mode}" in texts[str(pgbouncer.TLS)]
    assert "ssl = on" in texts["/etc/airfleet/postgresql/postgresql.conf"]


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("host", ["sched1", "cpu1", "web3"])
def test_every_way_to_the_database_verifies_the_server_once_clients_encrypt(host: str, is_used: bool) -> None:
    texts = read(describe(host, is_used=is_used, is_required=False))
    ways = [
        word
        for path, text in texts.items()
        for line in text.splitlines()
        for word in line.replace('"', " ").split()
        if "@" in word and "postgresql" in word and "127.0.0.1" not in word
    ]
    assert ways or host == "web3"
    for way in ways:
        assert (f"sslmode=verify-full&sslrootcert={AUTHORITIES}" in way) == is_used
    if host == "web3":
        assert ('"sslmode": "verify-full"' in texts[str(patroni.CONFIG)]) == is_used


@pytest.mark.parametrize(
    ("broker", "offered", "used"),
    [
        (TlsProgress(is_used=False, is_required=False), {5671, 5672}, 5672),
        (TlsProgress(is_used=True, is_required=False), {5671, 5672}, 5671),
        (TlsProgress(is_used=True, is_required=True), {5671}, 5671),
    ],
)
def test_the_broker_s_port_in_clear_closes_once_every_client_uses_tls(
    broker: TlsProgress, offered: set[int], used: int
) -> None:
    encryption = replace(CREDENTIALS.encryption, broker=broker)

    def where(name: str) -> Place:
        return replace(place(parse(), name), credentials=replace(CREDENTIALS, encryption=encryption))

    (part,) = (part for part in host_parts.describe(where("data1"), ssh_ports=(22,)) if part.name == "rabbitmq")
    assert {port.number for port in part.ports} & {5671, 5672} == offered
    config = read((part,))["/etc/airfleet/rabbitmq/rabbitmq.conf"]
    assert {int(port) for port in re.findall(r"^listeners\..*:([0-9]+)$", config, re.MULTILINE)} == offered
    for name, path in (("sched1", "server/celery.json"), ("cpu1", "worker/celery-cpu.json")):
        link = json.loads(read(host_parts.describe(where(name), ssh_ports=(22,)))[f"/etc/airfleet/{path}"])
        assert f":{used}/" in link["broker_url"]
        assert link["broker_url"].startswith("amqps://") == ("authorities" in link) == broker.is_used


def test_a_new_certificate_restarts_no_server() -> None:
    def restarts(mark: str) -> dict[str, object]:
        own = CREDENTIALS.encryption.certificates["data1"]
        encryption = replace(CREDENTIALS.encryption, certificates={"data1": replace(own, certificate=mark)})
        where = replace(place(parse(), "data1"), credentials=replace(CREDENTIALS, encryption=encryption))
        rooms = (postgresql, pgbouncer, rabbitmq)
        services = [service for room in rooms for service in room.describe(where).services]
        assert all(one.reload for one in services)
        return {one.name: (one.command, one.env) for one in services}

    assert restarts("first\n") == restarts("second\n")


def test_a_key_is_for_the_group_of_its_server_alone() -> None:
    keys = {
        file.path.parent.name: file
        for part in describe("data1", is_used=True, is_required=True)
        for file in part.files
        if file.path.name == "host.key"
    }
    assert {name: (key.group, key.mode) for name, key in keys.items()} == {
        "postgresql": ("postgres", 0o640),
        "pgbouncer": ("pgbouncer", 0o640),
        "etcd": ("etcd", 0o640),
        "rabbitmq": ("rabbitmq", 0o640),
    }
    assert all(key.is_secret for key in keys.values())


def test_tasks_reach_the_project_s_database_encrypted() -> None:
    where = place(parse(), "sched1")
    connection = metadata.connect_database(where.site("server"), CREDENTIALS.platform, "warehouse")
    extra = cast(dict[str, str], connection["extra"])
    assert extra | {"sslmode": "verify-full", "sslrootcert": str(AUTHORITIES)} == extra


PROGRESS = [
    TlsProgress(is_used=False, is_required=False),
    TlsProgress(is_used=True, is_required=False),
    TlsProgress(is_used=True, is_required=True),
]
EXPORTERS = {8405, 8406, 9100, 9110, 9187, 15692}
THREE = with_setting(NINE.replace("roles: [scheduler]", "roles: [scheduler, broker]"), "monitor]", "monitor, logs]")


def at_step(name: str, text: str = THREE, **progress: TlsProgress) -> Place:
    encryption = replace(CREDENTIALS.encryption, **progress)  # type: ignore[arg-type]
    return replace(place(parse(text), name), credentials=replace(CREDENTIALS, encryption=encryption))


@pytest.mark.parametrize("before", range(2))
def test_what_prometheus_reads_in_a_step_is_open_in_that_step_and_in_the_one_before(before: int) -> None:
    """In the middle of a step some hosts have what it brings, and some have not."""
    one, other = PROGRESS[before : before + 2]
    for of_hosts, of_monitor in ((one, one), (one, other), (other, one), (other, other)):
        listed = host_parts.describe(at_step("web3", metrics=of_monitor), ssh_ports=(22,))
        config = yaml.safe_load(read(listed)["/etc/airfleet/prometheus/prometheus.yml"])
        scraped = {
            target
            for job in config["scrape_configs"]
            for static in job["static_configs"]
            for target in static["targets"]
            if int(target.rpartition(":")[2]) in EXPORTERS | {9101}
        }
        opened = {
            f"{host.address}:{port.number}"
            for host in parse(THREE).hosts
            for part in host_parts.describe(at_step(host.name, metrics=of_hosts), ssh_ports=(22,))
            for port in part.ports
        }
        assert scraped
        assert scraped <= opened


@pytest.mark.parametrize("host", ["web1", "sched1", "cpu1", "data1", "web3"])
def test_at_the_end_exporters_listen_on_the_loopback_alone(host: str) -> None:
    listed = host_parts.describe(at_step(host, metrics=PROGRESS[-1]), ssh_ports=(22,))
    assert not EXPORTERS & {port.number for part in listed for port in part.ports}
    words = [word for part in listed for service in part.services for word in service.command]
    texts = [*words, *read(listed).values()]
    for number in EXPORTERS:
        assert not any(re.search(rf"\b10\.0\.0\.\d+:{number}\b", text) for text in texts), number


def test_a_fleet_without_a_monitor_host_has_nothing_in_front_of_its_exporters() -> None:
    text = NINE.replace("[web, monitor]", "[web]")
    for host in parse(text).hosts:
        listed = host_parts.describe(at_step(host.name, text), ssh_ports=(22,))
        assert "metrics-proxy" not in {service.name for part in listed for service in part.services}
        assert 9101 not in {port.number for part in listed for port in part.ports}


def find_broker(name: str, text: str, progress: TlsProgress) -> Part:
    (part,) = (
        one
        for one in host_parts.describe(at_step(name, text, cluster=progress), ssh_ports=(22,))
        if one.name == "rabbitmq"
    )
    return part


def test_a_node_and_all_that_talks_to_it_change_to_tls_in_one_step() -> None:
    for progress in PROGRESS:
        part = find_broker("sched1", THREE, progress)
        [service] = part.services
        assert ("inet_tls" in service.env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]) == progress.is_used
        assert ("inet_tls" in service.env.get("RABBITMQ_CTL_ERL_ARGS", "")) == progress.is_used
        asks = rabbitmq.ask_to_stop(at_step("sched1", cluster=progress))
        for script in (*(job.script.reveal() for job in part.jobs), asks):
            assert ("inet_tls" in script) == progress.is_used, script
        # A change of what it trusts has to be read, as a change of its certificate.
        assert (AUTHORITIES in {file.path for file in service.files}) == progress.is_used
    settled, used = (find_broker("sched1", THREE, progress).services[0].env for progress in PROGRESS[:0:-1])
    assert settled == used, "a second restart of all brokers for nothing"


def test_a_node_alone_needs_no_tls_for_its_own_tools() -> None:
    assert "inet_tls" not in str(find_broker("data1", NINE, PROGRESS[-1]))


def test_authorities_and_certificates_restart_no_node_of_a_cluster() -> None:
    one = find_broker("sched1", THREE, PROGRESS[-1]).services[0]
    encryption = replace(CREDENTIALS.encryption, trusted="others\n")
    where = replace(place(parse(THREE), "sched1"), credentials=replace(CREDENTIALS, encryption=encryption))
    other = rabbitmq.describe(where).services[0]
    assert (one.command, one.env) == (other.command, other.env)
    assert one.files != other.files


def test_until_the_step_in_which_all_nodes_change_no_node_restarts() -> None:
    """An earlier version has the first step's unit already, so that no node restarts once more before."""
    unit = systemd_units.render(find_broker("sched1", THREE, PROGRESS[0]).services[0])
    assert "inet_tls" not in unit
    assert "eval ssl:clear_pem_cache()." in unit
    assert "dist" not in unit.partition("ExecReload")[2]
