"""The real Prometheus and Alertmanagers of two monitor hosts, and the agents' server of a scheduler host, with TLS."""

from __future__ import annotations

import json
import random
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from airfleet.components.host_model import Encryption, HostFile, Part, Place
from airfleet.components.hosts import agents, certificates, monitor
from airfleet.components.model import reveal
from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from airfleet_provider.agent_loops.server import HttpAnswer, Request, Server, ServerTls
from airfleet_provider.contract.notification_policy import derive_webhook_token
from deadline import PATIENCE_S, wait_until
from places import CREDENTIALS, parse, place
from prometheus_server import quicken

# A network of the loopback for this run, in which every host has the ports of a host.
NETWORK = f"127.{random.SystemRandom().randrange(128, 192)}.{random.SystemRandom().randrange(1, 255)}"
ADDRESSES = {"one": f"{NETWORK}.1", "mon1": f"{NETWORK}.2", "mon2": f"{NETWORK}.3"}
TEXT = f"""
name: flights
hosts:
  one: {{address: {ADDRESSES["one"]}, roles: [database, broker, web, scheduler, worker]}}
  mon1: {{address: {ADDRESSES["mon1"]}, roles: [monitor]}}
  mon2: {{address: {ADDRESSES["mon2"]}, roles: [monitor]}}
"""
PROGRAMS = [Path("/usr/bin/prometheus"), Path("/usr/bin/prometheus-alertmanager")]


@dataclass
class Hosts:
    """The files of the hosts below a folder, their ports, and what the agents got."""

    folder: Path
    authority: certificate_authority.Authority
    ports: dict[int, int]
    alerts: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def find(self, name: str) -> Place:
        now = datetime.now(UTC)
        issued = {
            host: certificate_authority.issue(self.authority, host, [address], now)
            for host, address in ADDRESSES.items()
        }
        where = place(parse(TEXT), name)
        encryption = Encryption(self.authority.pem, issued)
        return replace(where, credentials=replace(CREDENTIALS, encryption=encryption))

    def move(self, text: str, name: str) -> str:
        """Name the folder and the ports of this test."""
        for old, new in self.ports.items():
            text = re.sub(rf":{old}\b", f":{new}", text)
        return re.sub(r"(/etc|/var/lib)/airfleet", rf"{self.folder}/{name}\1/airfleet", text)

    def write(self, name: str, *parts: Part) -> None:
        for file in (file for part in parts for file in part.files):
            self.path(name, file).parent.mkdir(parents=True, exist_ok=True)
            self.path(name, file).write_text(quicken(self.move(reveal(file.content), name)))

    def path(self, name: str, file: HostFile) -> Path:
        return Path(self.move(str(file.path), name))

    def start(self, name: str, part: Part) -> subprocess.Popen[bytes]:
        (service,) = part.services
        words = [quicken(self.move(word, name)) for word in service.command]
        with (self.folder / f"{service.name}-{name}.log").open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log)

    def trust(self, *, proof: bool = True) -> ssl.SSLContext:
        """What a program of a monitor host shows and believes; without `proof`, another user of that host."""
        context = ssl.create_default_context(cadata=self.authority.pem)
        if proof:
            own = self.folder / "mon1" / "etc" / "airfleet" / "alertmanager"
            context.load_cert_chain(own / "host.pem", own / "host.key")
        return context

    def open(self, name: str, port: int, *, proof: bool = True) -> httpx.Client:
        url = f"https://{ADDRESSES[name]}:{self.ports[port]}"
        return httpx.Client(base_url=url, verify=self.trust(proof=proof), trust_env=False, timeout=PATIENCE_S)

    def take(self, request: Request) -> HttpAnswer:
        self.tokens.add(request.headers.get("Authorization", ""))
        self.alerts += json.loads(request.body)["alerts"]
        return HttpAnswer.of_json({})

    def count(self, expr: str) -> float | None:
        """The first value of a query; None while Prometheus starts, or if there is no series."""
        try:
            with self.open("mon1", 9090, proof=False) as client:
                answer = client.get("/api/v1/query", params={"query": expr})
        except httpx.TransportError:
            return None
        # It answers 503 until it has read its data.
        found = answer.json()["data"]["result"] if answer.status_code == 200 else []
        return float(found[0]["value"][1]) if found else None


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if not all(program.exists() for program in PROGRAMS):
        pytest.skip("Debian's packages are not installed: tools/prometheus installs them")
    authority = certificate_authority.load(certificate_authority.create("flights", datetime.now(UTC)), where="here")
    used = (9090, 9093, 9094, 9108)
    made = Hosts(
        tmp_path_factory.mktemp("hosts"), authority, dict(zip(used, ports.find_several(len(used)), strict=True))
    )
    described = agents.describe(made.find("one"))
    made.write("one", described)
    (config,) = described.services[0].files
    server = json.loads(made.path("one", config).read_text())["server"]
    assert server["tls_required"]
    served = Server(
        server["address"],
        made.ports[9108],
        {"/metrics": lambda accept: HttpAnswer(HTTPStatus.OK, "text/plain; version=0.0.4", b"airfleet_test 1\n")},
        {("POST", "/alerts"): made.take},
        ServerTls(Path(server["certificate"]), Path(server["key"])),
    )
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    started = []
    try:
        for name in ("mon1", "mon2"):
            where = made.find(name)
            described = monitor.describe_alertmanager(where)
            made.write(name, certificates.describe(where), described)
            started.append(made.start(name, described))
        described = monitor.describe_prometheus(made.find("mon1"))
        made.write("mon1", described)
        started.append(made.start("mon1", described))
        yield made
    finally:
        for process in started:
            process.terminate()
            process.wait(PATIENCE_S)
        served.shutdown()
        served.server_close()


def test_prometheus_scrapes_and_delivers_with_tls(hosts: Hosts) -> None:
    for job in ("prometheus", "alertmanager", "agents"):
        wait_until(lambda job=job: hosts.count(f'up{{job="{job}"}} == 1'), job)  # type: ignore[misc]
    wait_until(lambda: hosts.count("sum(prometheus_notifications_sent_total) > 0"), "an alert goes over")
    assert hosts.count('airfleet:limit:certificate_expiry_timestamp_seconds{name="host"} - time() > 0')


def test_alertmanager_shows_its_token_to_the_agents_with_tls_only(hosts: Hosts) -> None:
    def list_names() -> set[str]:
        return {alert["labels"]["alertname"] for alert in hosts.alerts}

    wait_until(lambda: "Watchdog" in list_names(), "the watchdog at the agents")
    assert hosts.tokens == {f"Bearer {derive_webhook_token(CREDENTIALS.platform.jwt_secret.reveal())}"}
    transport = httpx.HTTPTransport(local_address=ADDRESSES["mon1"])
    with httpx.Client(transport=transport, timeout=PATIENCE_S) as client, pytest.raises(httpx.TransportError):
        client.get(f"http://{ADDRESSES['one']}:{hosts.ports[9108]}/metrics")


def test_no_page_reads_metrics_through_a_browser(hosts: Hosts) -> None:
    wait_until(lambda: hosts.count("up") is not None, "Prometheus")
    with hosts.open("mon1", 9090, proof=False) as client:
        page = client.get("/api/v1/labels", headers={"Origin": "https://elsewhere.example"})
    assert page.status_code == 200
    assert "Access-Control-Allow-Origin" not in page.headers, "any page in a browser reads the metrics"


def test_who_has_no_certificate_of_a_host_silences_nothing(hosts: Hosts) -> None:
    """Every user of the host reaches the ports, and a silence there would hide every alert."""

    def answers() -> bool:
        try:
            with hosts.open("mon1", 9093) as client:
                return client.get("/api/v2/silences").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "Alertmanager")
    with hosts.open("mon1", 9093, proof=False) as client, pytest.raises(httpx.TransportError):
        client.get("/api/v2/silences")
    with (
        socket.create_connection((ADDRESSES["mon1"], hosts.ports[9094]), timeout=PATIENCE_S) as plain,
        pytest.raises(OSError, match=r"(?i)certificate"),
        hosts.trust(proof=False).wrap_socket(plain, server_hostname=ADDRESSES["mon1"]) as secured,
    ):
        # With TLS 1.3 a server refuses a client after the handshake.
        secured.recv(1)


def test_a_silence_of_one_alertmanager_reaches_the_other_with_tls(hosts: Hosts) -> None:
    now = datetime.now(UTC)
    silence = {
        "matchers": [{"name": "alertname", "value": "Nothing", "isRegex": False}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "test",
        "comment": "test",
    }

    def post() -> str:
        try:
            with hosts.open("mon1", 9093) as client:
                return str(client.post("/api/v2/silences", json=silence).raise_for_status().json()["silenceID"])
        except httpx.HTTPError:
            return ""

    def list_at_other() -> set[str]:
        try:
            with hosts.open("mon2", 9093) as client:
                return {one["id"] for one in client.get("/api/v2/silences").raise_for_status().json()}
        except httpx.HTTPError:
            return set()

    made = wait_until(post, "Alertmanager takes a silence")
    wait_until(lambda: made in list_at_other(), "the silence at the other Alertmanager")
