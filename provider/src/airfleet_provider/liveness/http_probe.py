"""Whether one of several HTTP services answers; requests run in parallel, so a silent service delays no other."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

PATH = "/execution/health"
# Seconds to wait for an answer: a service on a working host answers sooner. The next call reads later answers.
WAIT_S = 0.25


@dataclass(slots=True)
class HttpProbe:
    """Requests the health of each URL; repeats a request after its answer, or after `answer_s` seconds without one.

    A service with TLS has to prove its host with a certificate from the file `authorities`, or without a file to the
    system. The file is read for each request, because an apply may change it.
    """

    urls: Sequence[str]
    answer_s: float
    authorities: str | None = None
    clock: Callable[[], float] = time.monotonic
    open: dict[str, PendingRequest] = field(default_factory=dict)

    def hears(self) -> bool:
        """Return whether a service has answered that it is healthy since the last call; takes up to `WAIT_S`."""
        is_heard = self._read()
        end = self.clock() + WAIT_S
        for url in self.urls:
            if url in self.open and self.clock() - self.open[url].asked >= self.answer_s:
                self.open.pop(url).close()
            if url not in self.open:
                self.open[url] = PendingRequest(urlsplit(url), self.clock(), self.authorities)
        while not is_heard and self.open and self.clock() < end:
            self._wait(end)
            is_heard = self._read()
        return is_heard

    def _wait(self, end: float) -> None:
        poll = select.poll()
        for question in self.open.values():
            poll.register(question.connection, question.awaits)
        poll.poll(max(0.0, end - self.clock()) * 1000)

    def _read(self) -> bool:
        answers = {url: answer for url, question in self.open.items() if (answer := question.advance()) is not None}
        for url in answers:
            self.open.pop(url).close()
        return any(answers.values())


@dataclass(slots=True)
class PendingRequest:
    """One request over a connection that never blocks. `awaits` is the event that `poll` must wait for."""

    parts: SplitResult
    asked: float
    authorities: str | None = None
    connection: socket.socket = field(init=False)
    awaits: int = select.POLLOUT
    is_ready: bool = False
    is_sent: bool = False
    heard: bytes = b""

    def __post_init__(self) -> None:
        host, port = str(self.parts.hostname), self.parts.port or (443 if self._has_tls else 80)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.connection = socket.socket(family)
        self.connection.setblocking(False)
        with suppress(OSError):
            self.connection.connect_ex((host, port))

    @property
    def _has_tls(self) -> bool:
        return self.parts.scheme == "https"

    def advance(self) -> bool | None:
        """Continue the request without waiting.

        Returns True for a status below 500, False for any other answer or an error, None while there is no answer.
        """
        poll = select.poll()
        poll.register(self.connection, self.awaits)
        if not poll.poll(0):
            return None
        try:
            return self._advance()
        except (BlockingIOError, ssl.SSLWantReadError):
            self.awaits = select.POLLIN
        except ssl.SSLWantWriteError:
            self.awaits = select.POLLOUT
        except OSError:
            return False
        return None

    def _advance(self) -> bool | None:
        if not self.is_ready:
            self._shake_hands()
            self.is_ready = True
        if not self.is_sent:
            self.connection.send(f"GET {PATH} HTTP/1.0\r\nHost: {self.parts.netloc}\r\n\r\n".encode())
            self.is_sent, self.awaits = True, select.POLLIN
            return None
        self.heard += (more := self.connection.recv(1024))
        words = self.heard.split(maxsplit=2)
        if len(words) > 2 and words[1].isdigit():
            return words[0].startswith(b"HTTP/") and int(words[1]) < 500
        return None if more else False

    def _shake_hands(self) -> None:
        """Begin or continue TLS, if the URL has it. Raises OSError if there is no connection, or for a stranger."""
        if not self._has_tls:
            return
        if not isinstance(self.connection, ssl.SSLSocket):
            context = ssl.create_default_context(cafile=self.authorities)
            plain = self.connection
            self.connection = context.wrap_socket(
                plain, server_hostname=self.parts.hostname, do_handshake_on_connect=False
            )
        self.connection.do_handshake()

    def close(self) -> None:
        """Close the connection and give up the answer."""
        self.connection.close()
