"""The hosts of a fleet whose RabbitMQ somebody else runs: what they get, and who gets which login."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from kombu.connection import Connection

from airfleet.components.host_model import BROKER_AUTHORITIES, HostFile, Part, Place, Stage
from airfleet.components.hosts import host_parts, monitor
from airfleet.components.model import OwnBroker, reveal
from airfleet.components.rabbitmq import own_broker
from airfleet.errors import SpecError
from airfleet.peers import broker as peers_broker
from airfleet.spec.secrets import Secret
from places import NINE, parse, place

OUTSIDE = NINE.replace("roles: [database, broker]", "roles: [database]").replace(
    "databases: [warehouse]\n", "databases: [warehouse]\nbroker: {url: {env: MY_BROKER}}\n"
)
PASSWORD, QUOTED = "p@ss/w:rd%", "p%40ss%2Fw%3Ard%25"
BROKER = OwnBroker("mq.example", 5671, "flights", "team", Secret(PASSWORD), True, "-- authorities\n", "/home/me/ca.pem")
MANAGED = replace(BROKER, management=Secret(f"https://admin:{QUOTED}@mq.example"))


def place_with(broker: OwnBroker, name: str) -> Place:
    where = place(parse(OUTSIDE), name)
    return replace(where, credentials=replace(where.credentials, broker=broker))


def list_parts(broker: OwnBroker, name: str) -> tuple[Part, ...]:
    return host_parts.describe(place_with(broker, name), ssh_ports=(22,))


def list_files(parts: Iterable[Part]) -> list[HostFile]:
    return [file for part in parts for file in (*part.early, *part.files)]


def read_celery(broker: OwnBroker, name: str, file_name: str) -> dict[str, object]:
    [file] = [file for file in list_files(list_parts(broker, name)) if file.path.name == file_name]
    assert (file.is_secret, file.mode, file.owner) == (True, 0o640, "root")
    return dict(json.loads(reveal(file.content)))


def test_without_the_management_api_all_processes_share_the_login_of_the_url() -> None:
    for name, file in (("sched1", "celery.json"), ("io1", "celery-io.json")):
        found = read_celery(BROKER, name, file)
        assert found["broker_url"] == f"amqps://team:{QUOTED}@mq.example:5671/flights"
        assert (found["authorities"], found["queue_type"]) == (str(BROKER_AUTHORITIES), "quorum")


def test_an_address_of_ipv6_has_brackets_in_its_url() -> None:
    found = read_celery(replace(BROKER, host="fd00:b::7"), "sched1", "celery.json")
    assert found["broker_url"] == f"amqps://team:{QUOTED}@[fd00:b::7]:5671/flights"


def test_with_it_each_pool_has_its_own_login_and_no_worker_has_that_of_the_url() -> None:
    worker = read_celery(MANAGED, "io1", "celery-io.json")
    assert worker["broker_url"] == "amqps://flights-pool-io:s3cret-pool-io@mq.example:5671/flights"
    scheduler = read_celery(MANAGED, "sched1", "celery.json")
    assert scheduler["broker_url"] == "amqps://flights-publisher:s3cret-publisher@mq.example:5671/flights"
    for host in parse(OUTSIDE).hosts:
        parts = list_parts(MANAGED, host.name)
        texts = [reveal(file.content) for file in list_files(parts)]
        texts += [f"{one.command} {one.env}" for part in parts for one in part.services]
        assert not any(PASSWORD in text or QUOTED in text for text in texts)


def test_the_job_with_the_password_is_on_the_first_scheduler_only() -> None:
    jobs = {
        name: {job.name: job.stage for part in list_parts(MANAGED, name) for job in part.jobs}
        for name in ("sched1", "sched2", "web1", "io1")
    }
    assert jobs["sched1"][own_broker.NAME] == Stage.DATABASES
    assert not any(own_broker.NAME in jobs[name] for name in ("sched2", "web1", "io1"))


def test_no_host_runs_rabbitmq_and_hosts_trust_the_authorities_of_its_owner() -> None:
    for host in parse(OUTSIDE).hosts:
        parts = list_parts(BROKER, host.name)
        assert "rabbitmq" not in {service.name for part in parts for service in part.services}
        [trusted] = [file for file in list_files(parts) if file.path == BROKER_AUTHORITIES]
        assert (trusted.content, trusted.mode) == ("-- authorities\n", 0o644)
    targets = {job.name: job.targets for job in monitor.list_jobs(place_with(BROKER, "web3"))}
    assert (targets["rabbitmq"], targets["rabbitmq-queues"]) == ((), ())


def test_the_authorities_of_the_system_count_where_none_are_named() -> None:
    public = replace(BROKER, authorities="", file="")
    assert "authorities" not in read_celery(public, "io1", "celery-io.json")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("broker: {url: {env: B}}\n", "broker: tasks go through a broker with Celery only"),
        (NINE + "broker: {url: {env: B}}\n", "hosts.data1.roles: this host has the role broker"),
        (NINE + "broker: {url: 'amqps://u:s3cret@h/v'}\n", "broker.url: fleet.yaml never holds a password"),
    ],
)
def test_what_does_not_go_with_it_is_refused(text: str, what: str) -> None:
    with pytest.raises(SpecError, match=what) as refusal:
        parse(text)
    assert "s3cret" not in str(refusal.value)


def test_a_broker_at_an_ipv6_address_is_found_by_clients() -> None:
    url = f"amqps://team:{QUOTED}@[fd00:9::5]:5671/flights"
    found = Connection(peers_broker.read(Secret(url)).url().reveal())
    assert (found.hostname, found.port, found.virtual_host) == ("fd00:9::5", 5671, "flights")
