"""A real RabbitMQ with the listeners of a host: which brokers its clients believe, and what a change costs."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from airfleet.components.host_model import Encryption, Place, TlsProgress
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.workspace import certificate_authority
from airfleet.workspace.certificate_authority import Authority
from airfleet_provider.network import verified_amqp
from brokers import Broker, serve, write_certificate
from deadline import PATIENCE_S
from places import CREDENTIALS, parse, place

pytestmark = pytest.mark.local
NOW = datetime.now(UTC)
LOGIN = "pool-cpu:s3cret-pool-cpu"


def make_authority() -> Authority:
    return certificate_authority.load(certificate_authority.create("flights", NOW), where="here")


def make_host(authority: Authority, progress: TlsProgress) -> Place:
    """A broker host in one step of the introduction, with a new certificate."""
    own = certificate_authority.issue(authority, "data1", ["10.0.0.41"], NOW)
    encryption = Encryption(authority.pem, {"data1": own}, broker=progress)
    return replace(place(parse(), "data1"), credentials=replace(CREDENTIALS, encryption=encryption))


@contextlib.contextmanager
def run(authority: Authority, progress: TlsProgress) -> Iterator[Broker]:
    host = make_host(authority, progress)
    with serve(rabbitmq.render_definitions(host), like=host) as broker:
        yield broker


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="module")
def introducing(authority: Authority) -> Iterator[Broker]:
    """A broker that offers TLS to clients of which some do not use it yet."""
    with run(authority, TlsProgress(is_used=False, is_required=False)) as broker:
        yield broker


@pytest.fixture(autouse=True)
def registered() -> None:
    verified_amqp.register()


def connect(broker: Broker, *addresses: str, authorities: Any = None) -> Connection:  # noqa: ANN401
    """A connection as Celery makes it, to the first of these addresses that proves its name."""
    urls = [f"amqps://{LOGIN}@{address}:{broker.tls_port}/airfleet" for address in addresses]
    connection = Connection(";".join(urls), ssl={"ca_certs": str(authorities or broker.authorities)})
    connection.ensure_connection(max_retries=len(addresses), interval_start=0, interval_step=0)
    return connection


def read_serial(connection: Connection) -> int:
    """The serial number of the certificate that the broker showed on this connection."""
    shown = connection.connection.transport.sock.getpeercert()
    return int(shown["serialNumber"], 16)


def test_celery_reaches_a_broker_that_proves_its_name_and_no_other(introducing: Broker, tmp_path: Any) -> None:  # noqa: ANN401
    with connect(introducing, "127.0.0.1") as connection:
        assert connection.connection.transport.sock.version() == "TLSv1.3"
        assert connection.default_channel.basic_get("cpu") is None
    with pytest.raises(OperationalError, match="IP address mismatch"):
        connect(introducing, "127.0.0.2")
    (tmp_path / "other.pem").write_text(make_authority().pem)
    with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        connect(introducing, "127.0.0.1", authorities=tmp_path / "other.pem")


def test_of_several_brokers_each_proves_its_own_name(introducing: Broker) -> None:
    """kombu compares the second broker of a list with the name of the first."""
    with connect(introducing, "127.0.0.2", "127.0.0.1") as connection:
        assert connection.hostname == "127.0.0.1"
    with connect(introducing, "127.0.0.1", "127.0.0.2") as connection:
        connection.collect()
        connection.maybe_switch_next()
        assert connection.hostname == "127.0.0.2"
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            connection.transport.establish_connection()


def test_a_new_certificate_comes_into_use_and_ends_no_connection(introducing: Broker, authority: Authority) -> None:
    host = make_host(authority, TlsProgress())
    (service,) = rabbitmq.describe(host).services
    with connect(introducing, "127.0.0.1") as former:
        before = read_serial(former)
        write_certificate(introducing.node, host)
        reload = " ".join(f"'{word}'" for word in service.reload[-1])
        introducing.run(f"{reload} -n rabbit@localhost")
        with connect(introducing, "127.0.0.1") as new:
            assert read_serial(new) != before
        assert former.default_channel.basic_get("cpu") is None


def test_a_former_version_of_tls_is_refused(introducing: Broker) -> None:
    context = ssl.create_default_context(cafile=str(introducing.authorities))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", introducing.tls_port), timeout=PATIENCE_S) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),  # the broker may close before its alert is read
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_clients_without_tls_are_served_until_all_have_moved(introducing: Broker, authority: Authority) -> None:
    with introducing.connect("pool-cpu", "s3cret-pool-cpu") as connection:
        assert connection.channel().basic_get("cpu") is None
    with run(authority, TlsProgress()) as settled:
        with connect(settled, "127.0.0.1") as connection:
            assert connection.default_channel.basic_get("cpu") is None
        with pytest.raises(ConnectionRefusedError):
            settled.connect("pool-cpu", "s3cret-pool-cpu")
        listeners = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        listening = {one.laddr.port for one in listeners if one.laddr}
        assert settled.tls_port in listening
        assert settled.node.ports.amqp not in listening
