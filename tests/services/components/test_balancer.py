"""The balancer's configuration in a real HAProxy on the loopback: which requests pass, and what it answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi.middleware.wsgi import WSGIMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from airfleet.components.host_model import AUTHORITIES, Place
from airfleet.components.hosts import airflow, haproxy
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from deadline import PATIENCE_S, wait_until
from places import NINE, desired, parse, place, with_setting

TLS = with_setting(NINE, "hosts:", "tls: {certificate: cert.pem, key: key.pem}\nhosts:")
ALONE = NINE.replace("[web]", "[monitor]").replace("[web, monitor]", "[monitor]").replace("[web, balancer]", "[web]")
PROGRAM = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
needs_haproxy = pytest.mark.skipif(PROGRAM is None, reason="no haproxy here: tools/haproxy installs it")
SILENT_S = 1.5
# The limits of these tests are 0.5 s and 1 s. Without them, a connection would end after a minute or more.
MOST_S = 45


class WebHost(BaseHTTPRequestHandler):
    """Answers with the request that it got, pauses within some answers, and refuses wrong passwords."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_GET(self) -> None:
        type(self).seen.append(self.path)
        if self.path == "/silent":
            time.sleep(SILENT_S)
        told = json.dumps({"path": self.path, "headers": {key.lower(): value for key, value in self.headers.items()}})
        self.send_response(200)
        if self.path == "/own-policy":
            self.send_header("Content-Security-Policy", "default-src 'none'")
        self.send_header("Content-Length", str(len(told) + (5 if self.path == "/stream" else 0)))
        self.end_headers()
        if self.path == "/stream":
            self.wfile.write(b"first")
            self.wfile.flush()
            time.sleep(SILENT_S)
        self.wfile.write(told.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(201 if b"right" in body else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


class Quiet(ThreadingHTTPServer):
    """A server that logs no error when the balancer ends a slow request."""

    def handle_error(self, *_: object) -> None:
        return


@dataclass
class Edge:
    """A balancer in front of one web host."""

    port: int
    scheme: str
    seen: list[str]

    def client(self) -> httpx.Client:
        url = f"{self.scheme}://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, verify=False, trust_env=False, timeout=PATIENCE_S)  # noqa: S501

    def raw(self, data: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.sendall(data)
        return connection


def render(text: str) -> str:
    return haproxy.render_balancer(place(parse(text), "web1"))


@contextlib.contextmanager
def run(folder: Path, text: str, *, client: str = "1m", request: str = "10s") -> Iterator[Edge]:
    """Run HAProxy with the rendered configuration, with addresses of the loopback and these limits.

    Only a test of a limit shortens it: on a busy machine, any request may begin half a second after its connection.
    """

    class Own(WebHost):
        seen: list[str] = []  # noqa: RUF012 - one list for each test

    web = Quiet(("127.0.0.1", 0), Own)
    threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
    port = ports.find_free()
    config = re.sub(r"(?m)^frontend metrics\n(  .*\n)*", "", render(text))
    config = re.sub(r"bind \S+", f"bind 127.0.0.1:{port}", config)
    config = re.sub(r"(?m)^  server web[23] .*\n", "", config)
    config = re.sub(r"server web1 \S+", f"server web1 127.0.0.1:{web.server_address[1]}", config)
    config = config.replace("/var/lib/airfleet/haproxy/", f"{folder}/").replace("/etc/airfleet/haproxy/", f"{folder}/")
    config = config.replace("timeout client 1m", f"timeout client {client}")
    config = config.replace("http-request 10s", f"http-request {request}")
    (folder / "balancer.cfg").write_text(config)
    command = [str(PROGRAM), "-W", "-f", str(folder / "balancer.cfg")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        edge = Edge(port, "https" if "tls:" in text else "http", Own.seen)
        with edge.client() as visitor:
            wait_until(lambda: answers(visitor), f"HAProxy, see {folder}/log")
        yield edge
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        web.shutdown()
        web.server_close()


def answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/").status_code == 200
    return False


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with run(tmp_path, NINE) as made:
        yield made


@pytest.fixture
def hasty_edge(tmp_path: Path) -> Iterator[Edge]:
    with run(tmp_path, NINE, client="1s", request="500ms") as made:
        yield made


@needs_haproxy
def test_what_a_client_says_of_its_origin_does_not_pass(edge: Edge) -> None:
    lies = {
        **{"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/pfx", "X-Forwarded-Port": "1"},
        **{"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "Forwarded": "for=1.2.3.4"},
        **{"X-Real-IP": "1.2.3.4", "x-forwarded-ssl": "on"},
        # Flask reads these as it reads those with hyphens.
        **{"X_Forwarded_Host": "evil.example", "x-forwarded_prefix": "/pfx", "X_Forwarded-For": "1.2.3.4"},
        **{"X_Real_IP": "1.2.3.4"},
    }
    with edge.client() as client:
        told = client.get("/home", headers=lies).json()["headers"]
    forwarded = {key: value for key, value in told.items() if "forwarded" in key or "real" in key}
    assert forwarded == {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http"}


@needs_haproxy
@pytest.mark.parametrize(
    "path",
    [
        *("/airfleet/releases/r1", "/%61irfleet/releases/r1", "/AIRFLEET/releases/r1", "//airfleet//releases/r1"),
        *("/airfleet%2freleases/r1", "/airfleet/releases", "/x/../airfleet/releases/r1", "/./airfleet/releases/r1"),
        *("/execution/health", "/%65xecution/health", "/x/%2e%2e/execution/health"),
        *("/airfleet/workers/cpu/a", "/airfleet/%77orkers/cpu/a"),
    ],
)
def test_what_is_for_workers_is_not_reached_from_outside(edge: Edge, path: str) -> None:
    with edge.raw(f"GET {path} HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n".encode()) as connection:
        head = connection.makefile("rb").readline()
    assert b" 403 " in head
    assert path not in edge.seen


@needs_haproxy
@pytest.mark.parametrize("path", ["/airfleet/releases/r1%zz", "/execution/x%", "/auth/token%2"])
def test_a_path_that_cannot_be_decoded_passes_no_rule(edge: Edge, path: str) -> None:
    with edge.raw(f"GET {path} HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n".encode()) as connection:
        assert b" 400 " in connection.makefile("rb").readline()
    assert path not in edge.seen


@needs_haproxy
def test_ordinary_paths_arrive_as_they_were_sent(edge: Edge) -> None:
    paths = ["/dags/a%20b/runs/manual__2026-01-01T00:00:00%2B00:00", "/static/app.v1..js", "/x%2Fy?q=/execution"]
    for path in paths:
        with edge.raw(f"GET {path} HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n".encode()) as connection:
            assert b" 200 " in connection.makefile("rb").readline()
    assert [path for path in edge.seen if path in paths] == paths


@needs_haproxy
def test_failed_logins_are_limited_and_good_ones_are_not(edge: Edge) -> None:
    with edge.client() as client:
        good = {client.post("/auth/token", json={"password": "right"}).status_code for _ in range(30)}
        assert good == {201}
        bad = [client.post("/auth//token", json={"password": "wrong"}).status_code for _ in range(30)]
        refused = client.post("/%61uth/token/cli", json={"password": "wrong"})
        others = client.get("/api/v2/dags").status_code
    assert 429 in bad
    assert bad.index(429) <= haproxy.LOGIN_FAILURES + 1
    assert set(bad[bad.index(429) :]) == {429}
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert others == 200


@needs_haproxy
def test_no_burst_of_guesses_gets_ahead_of_its_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "LOGIN_ATTEMPTS", 20)
    answered = threading.Event()
    plain = WebHost.do_POST

    def wait(self: WebHost) -> None:
        answered.wait(PATIENCE_S)
        plain(self)

    monkeypatch.setattr(WebHost, "do_POST", wait)
    guess = b"POST /auth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
    with run(tmp_path, NINE) as edge, contextlib.ExitStack() as stack:
        guesses = [stack.enter_context(edge.raw(guess)) for _ in range(30)]
        wait_until(lambda: len(select.select(guesses, (), (), 0)[0]) == 10, "nobody is refused")
        answered.set()
        told = [one.makefile("rb").readline() for one in guesses]
    assert sum(b" 401 " in line for line in told) == 20
    assert sum(b" 429 " in line for line in told) == 10


@needs_haproxy
@pytest.mark.parametrize(
    "begun", [b"GET / HTTP/1.1\r\nHost: x\r\n", b"", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"]
)
def test_a_request_without_an_end_is_not_held(hasty_edge: Edge, begun: bytes) -> None:
    began = time.monotonic()
    with hasty_edge.raw(begun) as connection:
        while connection.recv(4096):
            pass
    assert time.monotonic() - began < MOST_S


@needs_haproxy
@pytest.mark.parametrize("path", ["/silent", "/stream"])
def test_an_answer_that_is_silent_for_longer_than_a_client_may_be_comes_whole(tmp_path: Path, path: str) -> None:
    with run(tmp_path, NINE, client="1s") as edge, edge.client() as client:
        assert f'"path": "{path}"' in client.get(path).text


@needs_haproxy
def test_one_address_does_not_take_every_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "CONNECTIONS_PER_SOURCE", 3)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with run(tmp_path, NINE) as edge, contextlib.ExitStack() as stack:

        def hold() -> bool:
            """Keep a new connection open if it is answered: one that has just been closed may still count."""
            with contextlib.suppress(ConnectionError):
                connection = edge.raw(request)
                if b"200" in connection.recv(4096):
                    stack.enter_context(connection)
                    return True
                connection.close()
            return False

        for number in range(3):
            wait_until(hold, f"connection {number + 1} of 3")
        assert not hold()


@needs_haproxy
def test_browsers_are_told_what_they_may_do(edge: Edge) -> None:
    with edge.client() as client:
        for path in ("/", "/execution/x"):
            told = client.get(path).headers
            assert told["x-content-type-options"] == "nosniff"
            assert told["content-security-policy"] == "frame-ancestors 'self'"
            assert "strict-transport-security" not in told
        assert client.get("/own-policy").headers["content-security-policy"] == "default-src 'none'"


@needs_haproxy
def test_with_tls_browsers_stay_with_it_and_web_hosts_know(tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout key.pem -out cert.pem"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "fleet.pem").write_text((tmp_path / "cert.pem").read_text() + (tmp_path / "key.pem").read_text())
    with run(tmp_path, TLS) as edge, edge.client() as client:
        answer = client.get("/", headers={"X-Forwarded-Proto": "http"})
        assert answer.headers["strict-transport-security"] == haproxy.HSTS
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"
    with run(tmp_path, TLS, request="500ms") as edge:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        began = time.monotonic()
        with (
            socket.create_connection(("127.0.0.1", edge.port), timeout=PATIENCE_S) as slow,
            context.wrap_socket(slow) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\n")
            while tls.recv(4096):
                pass
        assert time.monotonic() - began < MOST_S


def settings_of(where: Place) -> dict[str, str]:
    return {f"{one.section}.{one.key}": one.value for one in airflow.list_settings(where)}


def unit(text: str, host: str, name: str) -> str:
    return systemd_units.render(next(one for one in desired(host, text).services if one.name == name))


def test_web_hosts_believe_the_balancers_and_nobody_else() -> None:
    behind = unit(NINE, "web2", "api-server")
    assert "--proxy-headers" in behind
    # Any user of the host comes from its own addresses, so only HAProxy's user is believed there.
    assert 'Environment="FORWARDED_ALLOW_IPS=10.0.0.11"' in behind
    assert 'Environment="AIRFLEET_LOCAL_PROXY=haproxy 127.0.0.1,10.0.0.12"' in behind
    alone = unit(ALONE, "web1", "api-server")
    assert "proxy-headers" not in alone
    assert "FORWARDED_ALLOW_IPS" not in alone
    assert "AIRFLEET_LOCAL_PROXY" not in alone


@pytest.mark.parametrize(("peer", "seen"), [("10.0.0.11", "203.0.113.9 https"), ("10.0.0.31", "10.0.0.31 http")])
def test_the_login_form_learns_from_the_balancer_alone_where_a_request_came_from(peer: str, seen: str) -> None:
    """A worker host reaches a web host without the balancer, and its tasks may send any header."""
    where = place(parse(NINE), "web2")

    def form(environ: dict[str, Any], start: Any) -> list[bytes]:  # noqa: ANN401
        start("200 OK", [])
        return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}".encode()]

    # As Airflow puts its login form, which is an application of Flask, below uvicorn.
    inner: Any = ProxyFix(form) if settings_of(where)["fab.enable_proxy_fix"] == "True" else form
    app: Any = ProxyHeadersMiddleware(cast(Any, WSGIMiddleware(inner)), trusted_hosts="10.0.0.11")
    headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    scope = {
        **{"type": "http", "method": "POST", "path": "/auth/login/", "root_path": "", "query_string": b""},
        **{"http_version": "1.1", "scheme": "http", "client": (peer, 1), "server": None, "headers": headers},
    }
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    asyncio.run(app(scope, receive, send))
    assert b"".join(one.get("body", b"") for one in answers).decode() == seen


def test_cookies_are_for_https_only_where_browsers_use_it() -> None:
    assert settings_of(place(parse(TLS), "web2"))["fab.cookie_secure"] == "True"
    assert "fab.cookie_secure" not in settings_of(place(parse(NINE), "web2"))


@needs_haproxy
def test_haproxy_takes_every_configuration(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("flights", now), where="here")
    own = certificate_authority.issue(authority, "web1", [], now)
    (tmp_path / "ca").write_text(authority.pem)
    (tmp_path / "own").write_text(own.certificate + own.key.reveal())
    for name, text in (
        ("balancer", render(NINE)),
        ("proxy", haproxy.render_proxy(place(parse(NINE), "cpu1"))),
        ("tls-proxy", haproxy.render_tls(place(parse(NINE), "web1"))),
    ):
        text = text.replace(str(AUTHORITIES), str(tmp_path / "ca"))  # noqa: PLW2901
        (tmp_path / name).write_text(text.replace(str(haproxy.CERTIFICATE), str(tmp_path / "own")))
        subprocess.run([str(PROGRAM), "-c", "-q", "-f", str(tmp_path / name)], check=True)
