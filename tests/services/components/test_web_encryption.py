"""Two real HAProxies between a task and the servers of a web host: the one of a worker host, and what ends TLS."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from airfleet.components.host_model import (
    API,
    API_TLS,
    AUTHORITIES,
    EXECUTION_TLS,
    Encryption,
    FleetCredentials,
    Place,
    TlsProgress,
)
from airfleet.components.hosts import haproxy, host_parts, web_ports
from airfleet.components.model import reveal
from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from deadline import PATIENCE_S, wait_until
from places import CREDENTIALS, NINE, parse, place

PROGRAM = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
NOW = datetime.now(UTC)
STEPS = [
    TlsProgress(is_used=False, is_required=False),
    TlsProgress(is_used=True, is_required=False),
    TlsProgress(is_used=True, is_required=True),
]
ALONE = """\
hosts:
  one: {address: 10.0.0.1, roles: [web, scheduler, database, broker]}
  two: {address: 10.0.0.2, roles: [worker]}
"""
needs_haproxy = pytest.mark.skipif(PROGRAM is None, reason="no haproxy here: tools/haproxy installs it")


def with_progress(name: str, progress: TlsProgress, text: str = NINE) -> Place:
    encryption = replace(CREDENTIALS.encryption, api=progress)
    return replace(place(parse(text), name), credentials=replace(CREDENTIALS, encryption=encryption))


def read(where: Place) -> dict[str, str]:
    listed = host_parts.describe(where, ssh_ports=(22,))
    return {str(file.path): reveal(file.content) for part in listed for file in part.files}


def list_open(where: Place) -> set[int]:
    return {port.number for part in host_parts.describe(where, ssh_ports=(22,)) for port in part.ports}


@pytest.mark.parametrize("progress", STEPS)
def test_what_a_host_uses_in_a_step_is_open_in_that_step_and_in_the_one_before(progress: TlsProgress) -> None:
    opened = list_open(with_progress("web2", progress))
    assert {8883, 8884} <= opened
    assert ({8880, 8881} <= opened) == (not progress.is_required)
    asked = {8883, 8884} if progress.is_used else {8880, 8881}
    proxy = read(with_progress("cpu1", progress))["/etc/airfleet/haproxy/proxy.cfg"]
    assert {int(port) for port in re.findall(r"server web2 10\.0\.0\.12:([0-9]+)", proxy)} == asked
    assert ("verify required ca-file /etc/airfleet/tls/ca.pem verifyhost web2" in proxy) == progress.is_used
    balancer = read(with_progress("web1", progress))["/etc/airfleet/haproxy/balancer.cfg"]
    assert f"server web2 10.0.0.12:{min(asked)} check" in balancer
    session = read(with_progress("sched1", progress))["/etc/airfleet/server/session.env"]
    assert ("https://10.0.0.12:8884" in session) == progress.is_used == ("AUTHORITIES=" in session)
    assert ("http://10.0.0.12:8881" in session) != progress.is_used


@pytest.mark.parametrize("progress", STEPS)
def test_the_servers_stay_on_the_loopback_once_nobody_else_reaches_them(progress: TlsProgress) -> None:
    (part,) = (
        part for part in host_parts.describe(with_progress("web2", progress), ssh_ports=()) if part.name == "web"
    )
    for service in part.services:
        assert ("--host 127.0.0.1" in " ".join(service.command)) == progress.is_required
        assert service.health is not None
        assert ("//127.0.0.1:" in service.health.url) == progress.is_required  # type: ignore[union-attr]


def test_without_a_balancer_the_ui_stays_where_browsers_reach_it() -> None:
    where = with_progress("one", STEPS[-1], ALONE)
    assert {8080, 8883, 8884} <= list_open(where)
    assert web_ports.find_own(where, API) == "10.0.0.1"
    assert "server own 10.0.0.1:8080" in haproxy.render_tls(where)
    assert "del-header" not in haproxy.render_tls(where), "the api-server trusts no such header"


def test_a_user_of_a_host_with_a_balancer_is_not_believed_for_its_address() -> None:
    """The balancer of web1 reaches the api-server of web1 without what ends TLS there."""
    own, other = (haproxy.render_tls(with_progress(name, STEPS[-1])) for name in ("web1", "web2"))
    assert "is_balancer" not in own
    assert "http-request del-header X-Forwarded- -m beg\n" in own
    assert "acl is_balancer src 10.0.0.11\n" in other
    assert "http-request del-header X-Forwarded- -m beg unless is_balancer\n" in other


def test_a_host_whose_servers_nobody_else_uses_has_no_tls() -> None:
    text = "hosts: {one: {address: 10.0.0.1}}"
    files = read(with_progress("one", STEPS[-1], text))
    assert not any("tls-proxy" in path for path in files)
    assert "ssl verify" not in "".join(files.values())


class Answers(BaseHTTPRequestHandler):
    """A server of a web host, which tells what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = json.dumps({key.lower(): value for key, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        return


@dataclass
class WebHosts:
    """Web hosts on the loopback, each with a server and what ends TLS in front of it, and a worker host's proxy.

    `moved` maps addresses with ports of the hosts to those on the loopback.
    """

    folder: Path
    credentials: FleetCredentials
    moved: dict[str, str] = field(default_factory=dict)
    servers: dict[str, ThreadingHTTPServer] = field(default_factory=dict)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def find(self, name: str) -> Place:
        return replace(place(parse(), name), credentials=self.credentials)

    def add(self, name: str, *, balancer: str = "10.0.0.11", shows: str = "") -> None:
        """Start a web host. It trusts the address `balancer`, and shows the certificate of the host `shows`."""
        self.servers[name] = server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.stack.callback(server.server_close)
        self.stack.callback(server.shutdown)
        where = self.find(name)
        for port in (API_TLS, EXECUTION_TLS):
            self.moved[f"{where.host.address}:{port}"] = f"127.0.0.1:{ports.find_free()}"
        config = haproxy.render_tls(where).replace("is_balancer src 10.0.0.11", f"is_balancer src {balancer}")
        config = re.sub(r"server own \S+", f"server own 127.0.0.1:{server.server_port}", config)
        own = self.find(shows or name).certificate
        (self.folder / f"{name}.pem").write_text(own.certificate + own.key.reveal())
        self.start(name, config.replace(str(haproxy.CERTIFICATE), str(self.folder / f"{name}.pem")))

    def start(self, name: str, config: str) -> None:
        for there, here in self.moved.items():
            config = config.replace(there, here)
        config = config.replace(str(AUTHORITIES), str(self.folder / "ca"))
        config = re.sub(r"(?m)^frontend metrics\n(  .*\n)*", "", config)
        config = re.sub(r"stats socket \S+", f"stats socket {self.folder}/{name}.sock", config)
        (self.folder / f"{name}.cfg").write_text(config)
        log = self.stack.enter_context((self.folder / f"{name}.log").open("w"))
        command = [str(PROGRAM), "-W", "-f", str(self.folder / f"{name}.cfg")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self.stack.callback(process.wait, 20)
        self.stack.callback(process.terminate)

    def count_connections(self, name: str) -> int:
        """How many connections with TLS the execution API of a web host has had."""
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(self.folder / f"{name}.sock"))
            one.sendall(b"show stat\n")
            rows = csv.DictReader(one.makefile())
            return next(
                int(row["stot"]) for row in rows if (row["# pxname"], row["svname"]) == ("execution", "FRONTEND")
            )

    def start_proxy(self) -> httpx.Client:
        """Start the proxy of a worker host in front of the web hosts, and return a client of it."""
        port = ports.find_free()
        config = haproxy.render_proxy(self.find("cpu1")).replace(":8882", f":{port}")
        for name in {"web1", "web2", "web3"} - self.servers.keys():
            config = re.sub(rf"(?m)^  server {name} .*\n", "", config)
        self.start("proxy", config)
        return self.stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S)
        )


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebHosts]:
    authority = certificate_authority.load(certificate_authority.create("flights", NOW), where="here")
    issued = {
        host.name: certificate_authority.issue(authority, host.name, [host.address], NOW) for host in parse().hosts
    }
    (tmp_path / "ca").write_text(authority.pem)
    hosts = WebHosts(tmp_path, replace(CREDENTIALS, encryption=Encryption(authority.pem, issued)))
    with hosts.stack:
        yield hosts


def gets(client: httpx.Client) -> int:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/execution/task-instances").status_code
    return 0


@needs_haproxy
def test_a_task_reaches_a_web_host_that_proves_its_name_and_no_other(web: WebHosts) -> None:
    web.add("web1", shows="data1")
    web.add("web2")
    client = web.start_proxy()
    wait_until(lambda: gets(client) == 200, "an answer")
    web.servers["web2"].shutdown()
    web.servers["web2"].server_close()
    wait_until(lambda: gets(client) == 503, "no answer")


@needs_haproxy
def test_a_task_that_starts_makes_no_handshake(web: WebHosts) -> None:
    web.add("web2")
    client = web.start_proxy()
    wait_until(lambda: gets(client) == 200, "an answer")
    before = web.count_connections("web2")
    for _ in range(20):
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=PATIENCE_S) as task:
            assert gets(task) == 200
    # The proxy's checks of the web host have connections of their own, a few in this time.
    assert web.count_connections("web2") - before < 15


@needs_haproxy
def test_a_task_does_not_notice_that_the_server_of_one_web_host_has_just_gone(web: WebHosts) -> None:
    for name in ("web1", "web2"):
        web.add(name)
    client = web.start_proxy()
    wait_until(lambda: gets(client) == 200, "an answer")
    time.sleep(7)  # the proxy leads requests to a host slowly at first
    web.servers["web1"].shutdown()
    web.servers["web1"].server_close()
    assert [gets(client) for _ in range(10)] == [200] * 10


@needs_haproxy
@pytest.mark.parametrize("balancer", ["127.0.0.1", "10.9.9.9"])
def test_only_a_balancer_says_where_a_request_came_from(web: WebHosts, balancer: str) -> None:
    web.add("web2", balancer=balancer)
    headers = {"X-Forwarded-For": "1.2.3.4", "x-forwarded-proto": "https", "Forwarded": "for=1.2.3.4"}

    def ask() -> dict[str, str]:
        with contextlib.suppress(httpx.HTTPError):
            url, trusted = f"https://{web.moved['10.0.0.12:8883']}/", str(web.folder / "ca")
            return dict(httpx.get(url, headers=headers, verify=trusted, trust_env=False, timeout=PATIENCE_S).json())
        return {}

    told = wait_until(ask, "an answer")
    is_believed = balancer == "127.0.0.1"
    assert told["x-forwarded-for"] == ("1.2.3.4" if is_believed else "127.0.0.1")
    assert ({"x-forwarded-proto", "forwarded"} <= told.keys()) == is_believed
    assert is_believed or not {"x-forwarded-proto", "forwarded"} & told.keys()
