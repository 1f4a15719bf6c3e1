"""A client whose calls take the plain way sees what it would see of httpx's own."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import pytest

from airfleet_provider.network.http_transport import PlainTransport, send_plainly
from deadline import PATIENCE_S


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, dict[str, str], bytes]] = []  # noqa: RUF012 - each test has a class of its own
    hangs_up = False

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() != "host"}
        self.seen.append((self.path, headers, body))
        self.send_response(409 if self.path.startswith("/conflict") else 200)
        self.send_header("X-One", "1")
        self.send_header("X-One", "2")
        if self.path == "/cookie":
            self.send_header("Set-Cookie", "node=a; Path=/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.hangs_up

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    handler = type("Own", (Echo,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        found.daemon_threads = True
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{found.server_port}", handler=handler)
        found.shutdown()


def make(url: str, *, plain: bool = True) -> httpx.Client:
    client = httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S)
    if plain:
        send_plainly(client)
        assert isinstance(client._transport, PlainTransport)
    return client


@pytest.mark.parametrize("path", ["/a%20b?x=1&y=%C3%A9", "/conflict", "/"])
@pytest.mark.parametrize("body", [b"", b'{"a": 1}'])
def test_both_ways_send_and_tell_the_same(server: SimpleNamespace, path: str, body: bytes) -> None:
    answers = []
    for plain in (False, True):
        with make(server.url, plain=plain) as client:
            found = client.patch(path, content=body, headers={"Authorization": "Bearer t"})
            headers = [(name, value) for name, value in found.headers.multi_items() if name != "date"]
            answers.append((found.status_code, headers, found.content, found.reason_phrase, found.http_version))
    assert answers[0] == answers[1]
    assert server.handler.seen[0] == server.handler.seen[1]


def test_a_server_that_hung_up_meanwhile_is_called_again(server: SimpleNamespace) -> None:
    server.handler.hangs_up = True
    with make(server.url) as client:
        for _ in range(3):
            assert client.patch("/", content=b"x").content == b"x"
            connection = client._transport._connection  # type: ignore[attr-defined]
            if connection is not None:
                connection.sock.recv(1)  # returns once the server has hung up


@pytest.mark.parametrize("step", ["begin", "read"])
def test_an_answer_that_nobody_awaited_is_not_that_of_the_next_request(
    server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The handler of a signal may raise while a request is under way, for instance KeyboardInterrupt."""

    def interrupt(_: http.client.HTTPResponse) -> None:
        raise KeyboardInterrupt

    with make(server.url) as client:
        client.patch("/")
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(http.client.HTTPResponse, step, interrupt)
            client.patch("/", content=b"first")
        monkeypatch.setattr(
            "airfleet_provider.network.http_transport._has_ended", lambda _: False
        )  # it is not there yet
        assert client.patch("/", content=b"second").content == b"second"


def test_a_cookie_of_a_balancer_is_sent_back(server: SimpleNamespace) -> None:
    for plain in (False, True):
        with make(server.url, plain=plain) as client:
            for path in ("/", "/cookie", "/"):
                client.patch(path)
    cookies = [headers.get("cookie") for _, headers, _ in server.handler.seen]
    assert cookies == [None, None, "node=a"] * 2


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb: c", "a\rb"])
def test_a_header_of_two_lines_is_not_sent(server: SimpleNamespace, value: str) -> None:
    with make(server.url) as client, pytest.raises((ValueError, httpx.LocalProtocolError)):
        client.patch("/", headers={"a": value})
    assert server.handler.seen == []


def test_a_body_of_unknown_length_goes_the_usual_way(server: SimpleNamespace) -> None:
    with make(server.url) as client:
        client.patch("/", content=iter([b"a", b"b"]))
    assert server.handler.seen[0][1]["transfer-encoding"] == "chunked"


def test_errors_are_those_that_calls_are_repeated_for(server: SimpleNamespace) -> None:
    with make("http://127.0.0.1:9") as client, pytest.raises(httpx.ConnectError):
        client.patch("/")


def test_a_client_with_tls_or_another_transport_is_left_alone() -> None:
    for client in (
        httpx.Client(base_url="https://x"),
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))),
    ):
        before = client._transport
        send_plainly(client)
        assert client._transport is before
