"""Requests to OpenSearch or Elasticsearch: who is asked, and how an answer that does not come is told."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from airfleet_provider.log_index.store import LogStoreError

# Seconds for which the server may say nothing.
SILENT_S = 30.0


@dataclass(frozen=True, slots=True)
class OpenSearchServer:
    """Where the documents are: the URL of the server with its login, the beginning of the names of indexes.

    `authorities` is the file of those who vouch for the server; without it, the machine's own are believed.
    """

    url: str
    prefix: str = "airfleet-logs"
    authorities: Path | None = None


class OpenSearchClient:
    """Sends requests to one server. Any number of threads use it, one at a time."""

    def __init__(self, place: OpenSearchServer) -> None:
        parts = urlsplit(place.url)
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._is_tls else 9200)
        self._base = parts.path.rstrip("/")
        self._authorities = place.authorities
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"} if parts.username else {}
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, Any]:
        """Return the status of an answer and what it says.

        Raises:
            LogStoreError: The server does not answer, is overloaded, or says no JSON. It may have done what was asked.
        """
        headers = {**self._headers, "Content-Type": kind}
        with self._lock:
            # A server, or a proxy before it, ends a connection that is silent. What is asked twice is done once.
            for is_last in (self._connection is None, True):
                try:
                    connection = self._connection or self._connect()
                    connection.request(method, self._base + path, body or None, headers)
                    answer = connection.getresponse()
                    text = answer.read()
                    said = json.loads(text) if text else {}
                    break
                except (OSError, http.client.HTTPException, ValueError) as error:
                    self.close()
                    if is_last:
                        raise LogStoreError(f"OpenSearch at {self._host}: {type(error).__name__}: {error}") from error
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise LogStoreError(f"OpenSearch at {self._host} answers {answer.status}: {shorten(said)}")
        return answer.status, said

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_tls:
            context = ssl.create_default_context(cafile=str(self._authorities) if self._authorities else None)
            self._connection = http.client.HTTPSConnection(self._host, self._port, timeout=SILENT_S, context=context)
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=SILENT_S)
        return self._connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()


def shorten(said: object) -> str:
    """Return the beginning of what a server said, for a message."""
    return json.dumps(said)[:500]
