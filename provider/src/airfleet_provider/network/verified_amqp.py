"""AMQP with TLS for Celery: every broker proves its own name, and no connection waits for a broker when it closes.

kombu's own transport for `amqps` has two faults for a platform with several brokers. It keeps the name of the first
broker in its options and compares every other broker with that name. And py-amqp ends TLS politely: it waits without a
limit for the answer of the broker, which a broker that hangs never gives.
"""

from __future__ import annotations

from ssl import CERT_REQUIRED
from typing import Any

from amqp.transport import SSLTransport
from kombu.transport import TRANSPORT_ALIASES, pyamqp

SCHEME = "amqps"


class AbruptStream(SSLTransport):  # type: ignore[misc]
    """A stream with TLS that tells the broker of its end and does not wait for an answer."""

    def _shutdown_transport(self) -> None:
        if self.sock is not None:
            # The answer is not there yet, so `unwrap` sends the message and raises an OSError, which `close` expects.
            self.sock.settimeout(0)
        super()._shutdown_transport()


class VerifiedConnection(pyamqp.Connection):
    """py-amqp's connection, on an `AbruptStream`."""

    def Transport(  # noqa: N802 - py-amqp's name and parameters
        self,
        host: str,
        connect_timeout: float | None,
        ssl: Any = False,  # noqa: ANN401 - the options of py-amqp's stream
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        **options: Any,  # noqa: ANN401
    ) -> AbruptStream:
        return AbruptStream(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            **options,
        )


class Transport(pyamqp.SSLTransport):
    """kombu's transport. Celery's `broker_use_ssl` may hold `ca_certs`; without it, the system's authorities count.

    A connection to a broker that cannot prove the name of its URL fails with `ssl.SSLCertVerificationError`.
    """

    VerifiedConnection = VerifiedConnection

    def establish_connection(self) -> Any:  # noqa: ANN401 - kombu has no types
        client: Any = self.client
        given = client.ssl if isinstance(client.ssl, dict) else {}
        client.ssl = {**given, "cert_reqs": CERT_REQUIRED, "server_hostname": client.hostname}
        return super().establish_connection()  # type: ignore[no-untyped-call]


def register() -> None:
    """Let kombu use this transport for URLs with `amqps`. Call it before the first such connection."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:{Transport.__name__}"
