"""The transport of a supervisor's calls to an execution API without TLS: http.client on a persistent connection."""

from __future__ import annotations

import copy
import http.client
import select
import threading

import httpx
from httpx._client import ClientState


class RareCookies(httpx.Cookies):
    """Looks for cookies only in a response that sets one: httpx builds two requests of urllib to find none."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep the cookies that a response sets."""
        if "set-cookie" in response.headers:
            super().extract_cookies(response)


class PlainTransport(httpx.BaseTransport):
    """Sends requests with a complete body as httpx's own transport does, in a third of its CPU time."""

    def __init__(self, other: httpx.BaseTransport) -> None:
        self._other = other
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its response; pass requests with TLS or a streamed body to httpx.

        Raises:
            httpx.TransportError: the same subclasses that httpx's own transport raises.
        """
        if request.url.scheme != "http" or "transfer-encoding" in request.headers:
            return self._other.handle_request(request)
        with self._lock:
            try:
                return self._exchange(request)
            except (http.client.HTTPException, OSError) as error:
                kind = _name_error(error, is_connected=bool(self._connection and self._connection.sock))
                self._hang_up()
                raise kind(str(error) or type(error).__name__, request=request) from error
            except BaseException:  # such as that of a signal: what is still to come must not answer the next request
                self._hang_up()
                raise

    def close(self) -> None:
        with self._lock:
            self._hang_up()
        self._other.close()

    def _exchange(self, request: httpx.Request) -> httpx.Response:
        limits = request.extensions.get("timeout", {})
        connection = self._connect(request.url.host, request.url.port or 80, limits.get("connect"))
        connection.sock.settimeout(limits.get("read"))
        connection.sock.sendall(_write(request))
        answer = http.client.HTTPResponse(connection.sock, method=request.method)
        answer.begin()
        body = answer.read()
        if answer.will_close:
            self._hang_up()
        return httpx.Response(
            answer.status,
            headers=answer.getheaders(),
            stream=httpx.ByteStream(body),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": answer.reason.encode("latin-1")},
        )

    def _connect(self, host: str, port: int, timeout_s: float | None) -> http.client.HTTPConnection:
        known = self._connection
        if known is None or (known.host, known.port) != (host, port) or _has_ended(known):
            self._hang_up()
            self._connection = known = http.client.HTTPConnection(host, port, timeout=timeout_s)
            known.connect()
        return known

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def copy_plain_client(model: httpx.Client) -> httpx.Client | None:
    """Return a client like one that has sent nothing, which may be closed. Its transport is a cheaper one.

    It is for an API without TLS. Headers and cookies are its own. Return None if the model asks through a proxy, or in
    a way that is not httpx's.
    """
    if any(model._mounts.values()):
        return None
    made = copy.copy(model)
    made._state = ClientState.UNOPENED
    made.headers, made._cookies = model.headers, httpx.Cookies(model.cookies)
    send_plainly(made)  # its former transport can be used again after it was closed
    return None if made._transport is model._transport else made


def send_plainly(client: httpx.Client) -> None:
    """Let a client of an API without TLS use a cheaper transport. Proxies of the client remain."""
    usual = getattr(client, "_transport", None)
    if type(usual) is httpx.HTTPTransport and client.base_url.scheme == "http":
        client._transport = PlainTransport(usual)
        client._cookies = RareCookies(client.cookies)


def _write(request: httpx.Request) -> bytes:
    """Return a request as bytes. Its target is one word, because httpx encodes what must not be in one.

    Raises:
        ValueError: a header would be more than one line.
    """
    headers = b"".join(b"%s: %s\r\n" % header for header in request.headers.raw)
    if headers.count(b"\n") != len(request.headers.raw) or headers.count(b"\r") != len(request.headers.raw):
        raise ValueError("a header of a request must be one line")
    first = (request.method.encode("ascii"), request.url.raw_path)
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (*first, headers, request.read())


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Return whether the server has closed the connection since the last response, which makes it readable."""
    if connection.sock is None:
        return True
    look = select.poll()
    look.register(connection.sock, select.POLLIN)
    return bool(look.poll(0))


def _name_error(error: Exception, *, is_connected: bool) -> type[httpx.TransportError]:
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout if is_connected else httpx.ConnectTimeout
    if isinstance(error, http.client.HTTPException):
        return httpx.RemoteProtocolError
    return httpx.ReadError if is_connected else httpx.ConnectError
