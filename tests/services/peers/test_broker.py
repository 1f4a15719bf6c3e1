"""A RabbitMQ that somebody else runs: what its URL may say, what is found missing, and what the fleet's job makes."""

from __future__ import annotations

import shlex
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import amqp
import pytest

from airfleet.components.host_model import Place
from airfleet.components.model import OutsideBroker, OwnBroker, reveal
from airfleet.components.rabbitmq import own_broker
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.errors import UsageError
from airfleet.peers import broker as peer
from airfleet.runners.local import checks
from airfleet.spec.secrets import Secret
from airfleet.workspace.diagnosis import Diagnosis
from brokers import Broker, serve
from deadline import COMMAND_S
from places import NINE, parse, place

OUTSIDE = NINE.replace("roles: [database, broker]", "roles: [database]").replace(
    "databases: [warehouse]\n", "databases: [warehouse]\nbroker: {url: {env: MY_BROKER}}\n"
)
TEAM, PASSWORD = "team", "p@ss/w:rd%"


@pytest.fixture(scope="module")
def server() -> Iterator[Broker]:
    with serve(is_managed=True) as one:
        one.control("add_vhost", "platform")
        one.control("add_user", TEAM, PASSWORD)
        yield one


@pytest.fixture
def broker(server: Broker) -> OwnBroker:
    """A virtual host with a login that may do everything in it, as its owner makes it."""
    server.control("set_permissions", "-p", "platform", TEAM, ".*", ".*", ".*")
    return OwnBroker("127.0.0.1", server.node.ports.amqp, "platform", TEAM, Secret(PASSWORD), has_tls=False)


def place_with(broker: OwnBroker, name: str = "sched1") -> Place:
    where = place(parse(OUTSIDE), name)
    return replace(where, credentials=replace(where.credentials, broker=broker))


def list_wrong(found: list[Diagnosis], level: str = "error") -> list[str]:
    return [f"{one.what} | {one.hint}" for one in found if one.level == level]


def run_job(where: Place) -> subprocess.CompletedProcess[str]:
    [job] = own_broker.list_jobs(where, rabbitmq.list_logins(where))
    script = job.script.reveal().replace(f"{where.runtime}/bin/python", shlex.quote(sys.executable))
    return subprocess.run(["sh", "-eus"], input=script, capture_output=True, text=True, check=False, timeout=COMMAND_S)


def test_a_virtual_host_with_its_login_is_all_that_is_needed_and_nothing_is_left_there(
    server: Broker, broker: OwnBroker
) -> None:
    found = peer.examine(broker, ["cpu"])
    assert list_wrong(found) == []
    assert any(one.what == "a message goes through a quorum queue" for one in found)
    assert server.control("list_queues", "-p", "platform", "name", "--silent").strip() == ""
    assert PASSWORD not in str(found)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"password": Secret("another")}, "refuses the login team or its password | rabbitmqctl add_user team"),
        (
            {"vhost": "elsewhere"},
            "may not enter the virtual host elsewhere | rabbitmqctl add_vhost elsewhere; rabbitmqctl",
        ),
        ({"port": 1}, "127.0.0.1:1 does not speak AMQP: "),
        ({"has_tls": True}, "broker.authorities"),
    ],
)
def test_what_keeps_everybody_out_is_told_with_what_its_owner_can_do(
    broker: OwnBroker, changed: dict[str, object], what: str
) -> None:
    [wrong] = list_wrong(peer.examine(replace(broker, **changed), []))  # type: ignore[arg-type]
    assert what in wrong
    assert PASSWORD not in wrong


def test_a_check_that_only_reads_makes_no_queue(server: Broker, broker: OwnBroker) -> None:
    server.control("set_permissions", "-p", "platform", TEAM, "^$", "^$", "^$")
    assert "may not make queues" in str(list_wrong(peer.examine(broker, ["io"])))
    found = peer.examine(broker, ["io"], tries_queue=False)
    assert list_wrong(found) == [], "what is not tried cannot be refused"
    assert any(one.what.startswith("RabbitMQ ") for one in found)


def test_a_login_with_too_few_rights_and_a_queue_of_another_kind_are_told_together(
    server: Broker, broker: OwnBroker
) -> None:
    with server.connect(TEAM, PASSWORD, "platform") as connection:
        connection.channel().queue_declare("io", durable=True, auto_delete=False)
    server.control("set_permissions", "-p", "platform", TEAM, "^io$", ".*", ".*")
    try:
        wrong = list_wrong(peer.examine(broker, ["io"]))
    finally:
        server.control("delete_queue", "-p", "platform", "io")
    assert [line.split(" | ")[1] for line in wrong] == [
        "rabbitmqctl set_permissions -p platform team '.*' '.*' '.*'",
        "when it is empty: rabbitmqctl delete_queue -p platform io",
    ]


def test_the_job_makes_the_queues_that_every_login_then_finds(server: Broker, broker: OwnBroker) -> None:
    where = place_with(broker)
    for _ in range(2):
        done = run_job(where)
        assert (done.returncode, done.stderr) == (0, "")
    text = server.control("list_queues", "-p", "platform", "name", "type", "durable", "--silent")
    assert sorted(line.split() for line in text.splitlines()) == [
        [name, "quorum", "true"] for name in ("cpu", "default", "io", "memory")
    ]
    assert list_wrong(peer.examine(broker, where.fleet.queues)) == []
    with server.connect(TEAM, PASSWORD, "platform") as connection:
        connection.channel().basic_consume("cpu")
        assert peer.count_consumers(broker, ["cpu", "io", "none"]) == {"cpu": 1, "io": 0}


def test_a_job_that_is_refused_says_why_without_the_password(broker: OwnBroker) -> None:
    done = run_job(place_with(replace(broker, password=Secret("wr0ng"))))
    assert done.returncode == 1
    assert done.stderr.startswith("airfleet: ")
    assert "ACCESS_REFUSED" in done.stderr
    assert "wr0ng" not in done.stderr


def test_each_pool_has_a_login_of_few_rights_where_the_management_api_is_given(
    server: Broker, broker: OwnBroker
) -> None:
    server.control("set_user_tags", TEAM, "administrator")
    url = Secret(f"http://{TEAM}:p%40ss%2Fw%3Ard%25@127.0.0.1:{server.api_port}")
    managed = replace(broker, management=url)
    where = place_with(managed)
    found = peer.examine(managed, where.fleet.queues)
    assert list_wrong(found) == []
    assert any("1 of its 1 nodes run" in line for line in list_wrong(found, "warning"))
    assert run_job(where).returncode == 0
    server.control("add_user", "platform-pool-gone", "former")
    server.control("set_permissions", "-p", "platform", "platform-pool-gone", "^$", "^$", "^gone$")
    # The virtual host `platform-pool` of another fleet has such a login.
    server.control("add_vhost", "platform-pool")
    server.control("add_user", "platform-pool-publisher", "of another fleet")
    server.control("set_permissions", "-p", "platform-pool", "platform-pool-publisher", "^$", "^$", "^$")
    done = run_job(where)
    assert (done.returncode, done.stderr) == (0, "")
    users = {line.split()[0] for line in server.control("list_users", "--silent").splitlines()}
    assert "platform-pool-gone" not in users
    assert {"platform-pool-publisher", "platform-publisher", "platform-pool-cpu"} <= users

    assert list_permissions(server)["platform-pool-cpu"] == ["^$", "^$", "^(cpu)$"]
    assert list_permissions(server)["platform-publisher"] == ["^$", r"^amq\.default$", "^$"]
    login = parse_login(own_broker.url(managed, "pool-cpu", where.credentials.consumers["cpu"]).reveal())
    with server.connect(*login, "platform") as connection:
        connection.channel().basic_consume("cpu")
        with pytest.raises(amqp.AccessRefused):
            connection.channel().basic_consume("io")


def test_a_management_login_that_may_make_no_login_is_told(server: Broker, broker: OwnBroker) -> None:
    server.control("set_user_tags", TEAM, "management")
    url = Secret(f"http://{TEAM}:p%40ss%2Fw%3Ard%25@127.0.0.1:{server.api_port}")
    [wrong] = list_wrong(peer.examine(replace(broker, management=url), []))
    assert wrong.endswith("| rabbitmqctl set_user_tags team administrator")
    nobody = Secret(f"http://{TEAM}:wr0ng@127.0.0.1:{server.api_port}")
    [wrong] = list_wrong(peer.examine(replace(broker, management=nobody), []))
    assert "answers 401" in wrong
    assert "wr0ng" not in wrong


def test_a_management_login_in_clear_is_told(server: Broker, broker: OwnBroker) -> None:
    """It may make and remove all logins of the broker."""
    for scheme, host, is_told in (("http", "broker.example", True), ("http", "127.0.0.1", False)):
        url = Secret(f"{scheme}://{TEAM}:p%40ss%2Fw%3Ard%25@{host}:15672")
        found = peer.examine(replace(broker, management=url), [], api_way=server.api_port)
        assert (
            "the login of its management API crosses the network in clear" in {one.what for one in found}
        ) == is_told


def list_permissions(server: Broker) -> dict[str, list[str]]:
    text = server.control("list_permissions", "-p", "platform", "--silent")
    rows = (line.split("\t") for line in text.splitlines())
    return {row[0]: row[1:] for row in rows}


def parse_login(url: str) -> tuple[str, str]:
    user, _, password = url.partition("://")[2].partition("@")[0].partition(":")
    return user, password


@pytest.mark.parametrize("is_managed", [False, True])
def test_one_machine_gets_its_queues_and_links_to_them(
    server: Broker, broker: OwnBroker, tmp_path: Path, is_managed: bool
) -> None:
    server.control("set_user_tags", TEAM, "administrator")
    url = Secret(f"http://{TEAM}:p%40ss%2Fw%3Ard%25@127.0.0.1:{server.api_port}")
    own = replace(broker, management=url if is_managed else None)
    outside = OutsideBroker(own, tmp_path, Secret("sends"), Secret("takes"), Secret("signs"))
    link = own_broker.link_one_machine(place_with(own).site("server"), outside, ("here",))
    [order], [process] = link.server.files, link.server.processes
    assert order.mode == 0o600
    order.path.write_text(reveal(order.content))
    words = [sys.executable, *map(reveal, process.commands[0][1:])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert parse_login(link.consumer.reveal())[0] == ("platform-pool-default" if is_managed else "team")
    assert checks._check_consumers(link.consumer, "here", None).detail == "0 workers"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://u:secret@h/d", "no URL of RabbitMQ"),
        ("amqps://h/v", "names no login and no password"),
        ("amqps://u:secret@h", "names no virtual host"),
        ("amqps://u:secret@h/%2F", "names no virtual host"),
        ("amqps://u:p@secret@h/v", "has an at sign"),
        ("amqps://u:secret@h/v?heartbeat=0", "more than a virtual host"),
        ("amqps://u:secret@h:port/v", "no URL of RabbitMQ"),
    ],
)
def test_a_url_that_says_too_little_or_too_much_is_refused_without_its_password(url: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as refusal:
        peer.read(Secret(url))
    assert "secret" not in str(refusal.value)


def test_a_url_has_the_login_as_it_is(tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_text("authorities\n")
    found = peer.read(Secret("amqps://te%20am:p%40ss%2Fw%3Ard%25@mq.example/flights"), authorities=trusted)
    assert (found.user, found.password.reveal(), found.port, found.vhost) == ("te am", PASSWORD, 5671, "flights")
    assert found.url().reveal() == "amqps://te%20am:p%40ss%2Fw%3Ard%25@mq.example:5671/flights"
    assert found.at(Path("/etc/x.pem")).address.options()["ssl"] == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "mq.example",
        "ca_certs": "/etc/x.pem",
    }
    assert PASSWORD not in f"{found!r} {found.address!r}"
