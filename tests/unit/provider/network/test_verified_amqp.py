"""AMQP with TLS, as far as it needs no broker; tests/local/test_broker_encryption.py has a real one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from amqp.transport import SSLTransport

from airfleet.workspace import certificate_authority
from airfleet_provider.network.verified_amqp import AbruptStream
from deadline import PATIENCE_S

# Seconds after which a close that waits for the broker is seen to wait.
WAITS_S = 0.5


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a server that shakes hands and then says and reads nothing, as a broker that hangs."""
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("x", now), where="here")
    own = certificate_authority.issue(authority, "data1", [], now)
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "host.pem").write_text(own.certificate + own.key.reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "host.pem")
    ends = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with context.wrap_socket(connection, server_side=True):
            ends.wait()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        ends.set()
        thread.join(PATIENCE_S)


@pytest.mark.parametrize(("kind", "hangs"), [(SSLTransport, True), (AbruptStream, False)])
def test_a_connection_closes_although_the_broker_hangs(
    port: int, tmp_path: Path, kind: type[SSLTransport], hangs: bool
) -> None:
    options = {"ca_certs": str(tmp_path / "ca.pem"), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "127.0.0.1"}
    stream = kind(f"127.0.0.1:{port}", connect_timeout=PATIENCE_S, ssl=options)
    stream.connect()
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(WAITS_S if hangs else PATIENCE_S)
    assert closing.is_alive() == hangs
