"""The HTTP server of the agents process and of the log store: metrics, health, and requests that may write.

Requests that may write show a token or the certificate of a host, so other hosts have to speak TLS once all of them
can.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

REQUEST_S = 10.0
LONGEST_BODY = 4 << 20
# A client that sends a byte now and then is not silent for REQUEST_S, so a whole request has a limit too.
WHOLE_REQUEST_S = 30.0
# Each connection has a thread and a file. Prometheus, Alertmanager and the health check need a few for milliseconds.
MOST_AT_ONCE = 32
# A connection with TLS begins with this byte (RFC 8446, 5.1: a record of a handshake), and no request of HTTP does.
HANDSHAKE = b"\x16"


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The files of the certificate and the key that the server shows.

    Every new connection reads them, so that a new certificate needs no restart. Unless TLS `is_required`, clients may
    go without it. Those of this host always may: only root can listen to what they send.
    """

    certificate: Path
    key: Path
    is_required: bool = True
    # The authorities whose certificates clients may show: then `Request.peer` is the name in such a certificate.
    authorities: Path | None = None

    def make_context(self) -> ssl.SSLContext:
        """Return the context of one connection.

        Raises:
            OSError: A file cannot be read, or the key is not that of the certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        if self.authorities:
            context.load_verify_locations(self.authorities)
            # A certificate that no authority signed ends the connection; a client without one has no name.
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a server allows: connections at once, bytes of a body, and whether a connection serves several requests.

    `of_one` is how many connections at once one address may have, if there is such a limit: one that opens more ends
    its own oldest, and not those of others.
    `strangers_body` is for clients without a name: the body is read before a handler says whether they may send it.
    """

    at_once: int = MOST_AT_ONCE
    longest_body: int = LONGEST_BODY
    strangers_body: int = LONGEST_BODY
    keeps_alive: bool = False
    of_one: int | None = None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer to a request."""

    status: HTTPStatus
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: object, *, good: bool = True) -> HttpAnswer:
        """Return an answer in JSON: 200, or 503 if it is not `good`."""
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return cls(status, "application/json", json.dumps(value).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its whole body. `query` is the part of the path after the question mark.

    `peer` is the common name in the certificate that the client proved to have, or "".
    """

    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: str = ""


# A route gets the `Accept` header.
Route = Callable[[str], HttpAnswer]
# What a handler answers to a method and a path.
Handler = Callable[[Request], HttpAnswer]
Handlers = Mapping[tuple[str, str], Handler]


class _Handler(BaseHTTPRequestHandler):
    routes: ClassVar[Mapping[str, Route]]
    handlers: ClassVar[Handlers]
    bounds: ClassVar[Bounds]
    timeout = REQUEST_S
    server_version, sys_version = "airfleet", ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        route = self.routes.get(url.path)
        if handler := self.handlers.get(("GET", url.path)):
            answer = handler(Request(url.query, dict(self.headers), b"", self._find_peer()))
        elif route is None:
            answer = HttpAnswer(HTTPStatus.NOT_FOUND, "text/plain", b"see /metrics, /health and /ready\n")
        else:
            answer = route(self.headers.get("Accept", ""))
        self._send(answer)

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        handler = self.handlers.get(("POST", url.path))
        length = self.headers.get("Content-Length", "")
        most = self.bounds.longest_body if self._find_peer() else self.bounds.strangers_body
        if handler is None:
            answer = HttpAnswer(HTTPStatus.NOT_FOUND, "text/plain", b"nothing takes a POST here\n")
        elif not length.isdecimal() or int(length) > most:
            answer = HttpAnswer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text/plain", b"the body is too long\n")
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                # The client has gone in the middle of it.
                self.close_connection = True
                return
            self._send(handler(Request(url.query, dict(self.headers), body, self._find_peer())))
            return
        # The body was not read, so what follows on this connection is no request.
        self.close_connection = True
        self._send(answer)

    def _find_peer(self) -> str:
        if not isinstance(self.connection, ssl.SSLSocket) or not (proof := self.connection.getpeercert()):
            return ""
        subject: Iterable[Any] = proof.get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        return str(names[0]) if len(names) == 1 else ""

    def _send(self, answer: HttpAnswer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, text in answer.headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the library's signature
        """Log nothing: a scrape comes every few seconds."""


class Server(ThreadingHTTPServer):
    """Serves the routes in threads that end with the process.

    The loops of the process need its files and its time, so only `bounds.at_once` connections are open. One more ends
    the oldest, which is one that waits for its client.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self,
        address: str,
        port: int,
        routes: Mapping[str, Route],
        handlers: Handlers | None = None,
        tls: ServerTls | None = None,
        bounds: Bounds = Bounds(),
    ) -> None:
        """Listen at once. Without `tls`, no connection has TLS.

        With `bounds.keeps_alive`, a connection serves requests for WHOLE_REQUEST_S.

        Raises:
            OSError: The address is not this machine's, or the port is taken.
        """
        # When each connection began, and its client's address; the oldest first.
        self._open: dict[Any, tuple[float, str]] = {}
        self._lock = threading.Lock()
        self._tls = tls
        self._bounds = bounds
        version = "HTTP/1.1" if bounds.keeps_alive else "HTTP/1.0"
        own = {"routes": routes, "handlers": handlers or {}, "bounds": bounds, "protocol_version": version}
        # The library asks the class for the family before it binds.
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), type("Handler", (_Handler,), own))

    @property
    def place(self) -> str:
        """Return the address and the port, as a URL has them."""
        address, port = str(self.server_address[0]), self.server_address[1]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Serve a connection in a thread of its own."""
        address = str(client_address[0])
        with self._lock:
            own = [one for one, (_, other) in self._open.items() if other == address]
            if self._bounds.of_one and len(own) >= self._bounds.of_one:
                self._end(own[0])
            while len(self._open) >= self._bounds.at_once:
                self._end(next(iter(self._open)))
            self._open[request] = (time.monotonic(), address)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Answer the requests of a connection, in its thread. One that has to speak TLS and does not gets no answer."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(REQUEST_S)
        is_own = request.getsockname()[0] == client_address[0]
        if request.recv(1, socket.MSG_PEEK) == HANDSHAKE:
            with self._secure(request, self._tls.make_context()) as secured:
                super().finish_request(secured, client_address)
        elif is_own or not self._tls.is_required:
            super().finish_request(request, client_address)

    @contextmanager
    def _secure(self, request: socket.socket, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        """Speak TLS on a connection, whose first read makes the handshake, and close it at the end."""
        with self._lock:
            # The new socket takes the connection over from the other one, which is then closed.
            began = self._open.pop(request, None)
            secured = context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            if began is not None:
                self._open[secured] = began
        try:
            yield secured
        finally:
            self.shutdown_request(secured)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the library's signature
        """Forget a connection, and close it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End what takes too long; the library calls this twice a second."""
        with self._lock:
            late = [one for one, (began, _) in self._open.items() if time.monotonic() - began > WHOLE_REQUEST_S]
            for request in late:
                self._end(request)

    def _end(self, request: Any) -> None:  # noqa: ANN401 - as above
        """Wake the thread that waits for a client; the thread closes the connection."""
        del self._open[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Say nothing of a client that has gone."""
