"""How both halves reach a RabbitMQ that somebody else runs: by AMQP, and by its management API (ADR 88)."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

TIMEOUT_S = 10.0
API_PORT, API_TLS_PORT = 15672, 15671
# From this version on, a queue may say how long a message may stay unacknowledged.
TIMEOUT_OF_QUEUE = (3, 12)


class ManagementError(RuntimeError):
    """The management API refuses a request, or does not answer. The text holds no password."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A virtual host of a RabbitMQ, and a login there. `authorities` is a file; without it the system's count."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    has_tls: bool
    authorities: str = ""

    def options(self, way: int = 0, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Return the options of py-amqp's connection. If `way` is not 0, this port of this machine leads there."""
        trust = {"ca_certs": self.authorities} if self.authorities else {}
        tls = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": self.host, **trust}
        return {
            "host": f"127.0.0.1:{way}" if way else f"{self.host}:{self.port}",
            "userid": self.user,
            "password": self.password,
            "virtual_host": self.vhost,
            "ssl": tls if self.has_tls else False,
            "connect_timeout": timeout_s,
            "read_timeout": timeout_s,
            "write_timeout": timeout_s,
        }


def list_arguments(properties: Mapping[str, Any], consumer_timeout_ms: int) -> dict[str, Any]:
    """Return the arguments of a queue at a server with these properties. A task may take as long as the time-out."""
    limits = {"x-consumer-timeout": consumer_timeout_ms} if read_version(properties) >= TIMEOUT_OF_QUEUE else {}
    return {"x-queue-type": "quorum", **limits}


def read_version(properties: Mapping[str, Any]) -> tuple[int, int]:
    """Return the version in the properties that a server says of itself."""
    found = re.match(r"(\d+)\.(\d+)", str(properties.get("version", "")))
    return (int(found[1]), int(found[2])) if found else (0, 0)


class ManagementApi:
    """The management API at a URL with a login."""

    def __init__(self, url: str, authorities: str = "", way: int = 0) -> None:
        """`way` is a port of this machine that leads there, or 0."""
        parts = urlsplit(url)
        self._is_safe = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (API_TLS_PORT if self._is_safe else API_PORT)
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._login = base64.b64encode(login.encode()).decode()
        self._root = parts.path.rstrip("/")
        self._authorities = authorities
        self._way = way

    def call(self, method: str, *path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Make one request, and return its answer; None where it has none or nothing is there.

        Raises:
            ManagementError: The request is refused, or nobody answers.
        """
        target = f"{self._root}/api/{'/'.join(quote(one, safe='') for one in path)}"
        headers = {"Authorization": f"Basic {self._login}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.sock = self._connect()
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ManagementError(f"{self._host}:{self._port}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            return None
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise ManagementError(f"{self._host}:{self._port} answers {answer.status} {answer.reason} to {target}")
        return json.loads(text) if text else None

    def _connect(self) -> socket.socket:
        place = ("127.0.0.1", self._way) if self._way else (self._host, self._port)
        plain = socket.create_connection(place, TIMEOUT_S)
        if not self._is_safe:
            return plain
        context = ssl.create_default_context(cafile=self._authorities or None)
        return context.wrap_socket(plain, server_hostname=self._host)
