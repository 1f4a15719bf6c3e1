"""The log store of another host, over HTTPS: what a log agent writes to, and what web and scheduler hosts search."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from airfleet_provider.log_index import wire
from airfleet_provider.log_index.lines import Line, LineOrigin
from airfleet_provider.log_index.store import FoundLines, LogQuery, LogStoreError

T = TypeVar("T")
# Seconds in which a store accepts a connection. One that does not is down.
CONNECT_S = 3.0
# Seconds for which a store may say nothing. A commit takes less than one, but the disk of the store may be busy.
SILENT_S = 20.0
# A store ends a connection after 30 s, at whatever it does then. So a client ends it first.
CONNECTED_S = 20.0
# Files of which a reader remembers the store that named them.
MOST_NAMED = 10_000


@dataclass(frozen=True, slots=True)
class Proof:
    """The files with which a host proves itself, and those of the authorities that it trusts."""

    authorities: Path
    certificate: Path | None = None
    key: Path | None = None

    def make_context(self) -> ssl.SSLContext:
        """Return the context of a connection. A new certificate is used from the next connection on.

        Raises:
            OSError: A file cannot be read.
        """
        context = ssl.create_default_context(cafile=str(self.authorities))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.certificate and self.key:
            context.load_cert_chain(self.certificate, self.key)
        return context


class _Store:
    """One log store, with a connection that is open between requests. Any number of threads use it, one at a time."""

    def __init__(self, url: str, proof: Proof, headers: Mapping[str, str], clock: Callable[[], float]) -> None:
        parts = urlsplit(url)
        self._address, self._port = parts.hostname or "", parts.port or 443
        self._proof = proof
        self._headers = headers
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: http.client.HTTPSConnection | None = None
        self._connected = 0.0

    def ask(self, path: str, body: bytes) -> bytes:
        """Return the body of an answer.

        Raises:
            LogStoreError: The store cannot be reached, or refuses. It may have done what was asked.
        """
        with self._lock:
            connection = self._find_open()
            is_new = connection is None
            try:
                status, text = self._send(connection or self._open(), path, body)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if is_new:
                    raise self._tell(error) from error
                # The store ends a connection that is silent for ten seconds. What is asked twice is done once.
                try:
                    status, text = self._send(self._open(), path, body)
                except (OSError, http.client.HTTPException) as another:
                    self.close()
                    raise self._tell(another) from another
        if status != HTTPStatus.OK:
            said = text.decode("utf-8", "replace").strip()
            raise LogStoreError(f"the log store at {self._address} answers {status}: {said[:500]}")
        return text

    def _send(self, connection: http.client.HTTPSConnection, path: str, body: bytes) -> tuple[int, bytes]:
        connection.request("POST", path, body, self._headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, text

    def _tell(self, error: Exception) -> LogStoreError:
        return LogStoreError(f"the log store at {self._address}: {type(error).__name__}: {error}")

    def _find_open(self) -> http.client.HTTPSConnection | None:
        """Return the connection that is open, if there is one that the store does not end soon."""
        if self._connection and self._clock() - self._connected > CONNECTED_S:
            self.close()
        return self._connection

    def _open(self) -> http.client.HTTPSConnection:
        context = self._proof.make_context()
        connection = http.client.HTTPSConnection(self._address, self._port, timeout=CONNECT_S, context=context)
        connection.connect()
        connection.sock.settimeout(SILENT_S)
        self._connection, self._connected = connection, self._clock()
        return connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()


class RemoteLogWriter:
    """Sends lines to the log store of another host, which leaves out those that it has. One thread uses it."""

    def __init__(self, urls: str, proof: Proof, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Send to the first of the hosts at `urls` that answers. With several of them, they write to one store."""
        headers = {"Content-Type": "application/octet-stream"}
        self._stores = [_Store(url, proof, headers, clock) for url in urls.split()]
        self._lines: list[Line] = []

    def know_new(self, source: str) -> None:
        """Do nothing: the store looks for the lines of a file that it does not know."""

    def add(self, lines: Sequence[Line]) -> int:
        """Take lines for the next `commit`. The store replaces those that it cannot keep, so their number is 0."""
        self._lines += lines
        return 0

    def commit(self) -> None:
        """Return when the store has kept all lines on its disk.

        Raises:
            LogStoreError: The store did not say so. It may have kept them.
        """
        if not self._lines:
            return
        body = wire.pack_lines(self._lines)
        errors = []
        for store in list(self._stores):
            try:
                store.ask(wire.LINES, body)
            except LogStoreError as error:
                errors.append(str(error))
            else:
                self._lines.clear()
                self._stores.sort(key=lambda one: one is not store)
                return
        raise LogStoreError("; ".join(errors))

    def forget_before(self, at: int) -> None:
        """Do nothing: the store removes old lines itself."""

    def close(self) -> None:
        """Give up the lines that no commit sent."""
        self._lines.clear()
        for store in self._stores:
            store.close()


class RemoteLogReader:
    """Searches the first of several log stores that answers. Each of them has all lines."""

    def __init__(
        self, urls: Sequence[str], proof: Proof, token: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Search the stores at `urls`, and prove with `token` that this host may."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self._stores = [_Store(url, proof, headers, clock) for url in urls]
        # The store that named a file: stores with an index of their own have other names for the same file.
        self._named: OrderedDict[str, _Store] = OrderedDict()

    def search(self, question: LogQuery, most: int) -> FoundLines:
        """Return the newest lines, `most` at most. Raises StoreError."""
        return self._ask(wire.SEARCH, wire.show_question(question, most), wire.read_answer)[0]

    def find_sources(self, attempt: LineOrigin) -> Sequence[str]:
        """Return the files that have lines of a try; the file with the oldest line comes first. Raises StoreError."""
        found, store = self._ask(wire.SOURCES, wire.show_attempt(attempt), lambda body: [str(one) for one in body])
        for source in found:
            self._named[source] = store
            if len(self._named) > MOST_NAMED:
                self._named.popitem(last=False)
        return found

    def read_page(self, attempt: LineOrigin, source: str, after: int) -> Sequence[tuple[int, str]]:
        """Return the next raw lines of one file of a try, each with its offset.

        Raises:
            LogStoreError: No store answers, or only one that does not know the file: its end is not that of the file.
        """
        first = self._named.get(source)
        page, store = self._ask(wire.PAGE, wire.show_attempt(attempt, source, after), wire.read_page, first)
        if not page and first not in (None, store):
            raise LogStoreError(f"the log store that has {source} does not answer")
        if first:
            self._named[source] = store
        return page

    def _ask(self, path: str, body: object, read: Callable[[Any], T], first: _Store | None = None) -> tuple[T, _Store]:
        """Return an answer, and the store that gave it. `first` is asked first, and then the one that answered last."""
        errors = []
        for store in sorted(self._stores, key=lambda one: one is not first):
            try:
                answer = read(json.loads(store.ask(path, json.dumps(body).encode())))
            except LogStoreError as error:
                errors.append(str(error))
            except (ValueError, TypeError, KeyError) as error:
                errors.append(f"a log store sends what is no answer: {type(error).__name__}: {error}")
            else:
                self._stores = sorted(self._stores, key=lambda one: one is not store)
                return answer, store
        raise LogStoreError("; ".join(errors) or "there is no log store")
