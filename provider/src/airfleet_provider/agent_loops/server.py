"""The HTTP server of the agents process: `/metrics`, `/health` and `/ready`. No request reads the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

REQUEST_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a GET request."""

    status: HTTPStatus
    kind: str
    body: bytes

    @classmethod
    def of_json(cls, value: object, *, good: bool = True) -> Answer:
        """Return an answer in JSON: 200, or 503 if it is not `good`."""
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return cls(status, "application/json", json.dumps(value).encode() + b"\n")


# A route gets the `Accept` header.
Route = Callable[[str], Answer]


class _Handler(BaseHTTPRequestHandler):
    routes: ClassVar[Mapping[str, Route]]
    timeout = REQUEST_S
    server_version, sys_version = "airfleet", ""

    def do_GET(self) -> None:
        route = self.routes.get(urlsplit(self.path).path)
        if route is None:
            answer = Answer(HTTPStatus.NOT_FOUND, "text/plain", b"see /metrics, /health and /ready\n")
        else:
            answer = route(self.headers.get("Accept", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the library's signature
        """Log nothing: a scrape comes every few seconds."""


class Server(ThreadingHTTPServer):
    """Serves the routes in threads that end with the process."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: str, port: int, routes: Mapping[str, Route]) -> None:
        """Listen at once.

        Raises:
            OSError: The address is not this machine's, or the port is taken.
        """
        super().__init__((address, port), type("Handler", (_Handler,), {"routes": routes}))

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Say nothing of a client that has gone."""
