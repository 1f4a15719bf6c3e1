"""How monitor hosts read the metrics of other hosts: with TLS once all of them offer it, through a real HAProxy."""

from __future__ import annotations

import contextlib
import random
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from airfleet.components.host_model import AUTHORITIES, METRICS_TLS, Encryption, HostCertificate
from airfleet.components.hosts import haproxy
from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from airfleet.workspace.certificate_authority import Authority
from deadline import PATIENCE_S, wait_until
from places import CREDENTIALS, NINE, parse, place

PROGRAM = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
NOW = datetime.now(UTC)
# A network of the loopback for this run.
NETWORK = f"127.{random.SystemRandom().randrange(64, 128)}.{random.SystemRandom().randrange(1, 255)}"
TEXT = NINE.replace("10.0.0", NETWORK)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="HAProxy is not installed: tools/haproxy installs it")


class MetricsAnswer(BaseHTTPRequestHandler):
    """Every exporter of the host: it answers with the path that it was asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class MetricsHost:
    """The host data1 on the loopback, and the authority of its fleet."""

    server: str
    authority: Authority
    folder: Path

    def get(self, path: str, *, shows: str = "web3", scheme: str = "https", authority: Authority | None = None) -> str:
        """What a host reads: the answer, or the status; nothing if no connection comes about."""
        trust = ssl.create_default_context(cadata=self.authority.pem)
        if shows:
            own = certificate_authority.issue(authority or self.authority, shows, ["127.0.0.1"], NOW)
            file = self.folder / f"{shows}.pem"
            file.write_text(own.certificate + own.key.reveal())
            trust.load_cert_chain(file)
        with contextlib.suppress(httpx.TransportError):
            done = httpx.get(f"{scheme}://{self.server}{path}", verify=trust, trust_env=False, timeout=PATIENCE_S)
            return done.text if done.is_success else str(done.status_code)
        return ""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsHost]:
    folder = tmp_path_factory.mktemp("metrics")
    authority = certificate_authority.load(certificate_authority.create("flights", NOW), where="here")
    address = next(one.address for one in parse(TEXT).hosts if one.name == "data1")
    own: HostCertificate = certificate_authority.issue(authority, "data1", [address], NOW)
    credentials = replace(CREDENTIALS, encryption=Encryption(authority.pem, {"data1": own}))
    port = ports.find_free()
    near = ThreadingHTTPServer(("127.0.0.1", 0), MetricsAnswer)
    config = haproxy.render_metrics(replace(place(parse(TEXT), "data1"), credentials=credentials))
    for exporter in (9100, 9187, 15692):
        assert f"server own 127.0.0.1:{exporter}\n" in config
        config = config.replace(f"server own 127.0.0.1:{exporter}\n", f"server own 127.0.0.1:{near.server_port}\n")
    config = config.replace(f":{METRICS_TLS} ", f":{port} ").replace(str(haproxy.SOCKETS), str(folder))
    config = config.replace(str(haproxy.CERTIFICATE), str(folder / "own.pem")).replace(
        str(AUTHORITIES), str(folder / "ca.pem")
    )
    (folder / "own.pem").write_text(own.certificate + own.key.reveal())
    (folder / "ca.pem").write_text(authority.pem)
    (folder / "metrics-proxy.cfg").write_text(config)
    threading.Thread(target=near.serve_forever, args=(0.02,), daemon=True).start()
    with (folder / "log").open("w") as log:
        words = [str(PROGRAM), "-W", "-f", str(folder / "metrics-proxy.cfg")]
        process = subprocess.Popen(words, stdout=log, stderr=log)
    made = MetricsHost(f"{address}:{port}", authority, folder)
    try:
        wait_until(lambda: made.get("/node/metrics"), "the metrics", seen=(folder / "log").read_text)
        yield made
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        near.shutdown()
        near.server_close()


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/node/metrics", "/metrics"),
        ("/postgres/metrics", "/metrics"),
        ("/rabbitmq/metrics", "/metrics"),
        ("/rabbitmq/metrics/detailed?family=a&family=b", "/metrics/detailed?family=a&family=b"),
    ],
)
def test_a_monitor_host_reads_each_exporter_at_a_path_of_its_own(host: MetricsHost, path: str, asked: str) -> None:
    assert host.get(path) == asked


@pytest.mark.parametrize("path", ["/", "/metrics", "/node/debug/pprof/", "/balancer/metrics", "/node/../postgres/x"])
def test_nothing_but_metrics_of_exporters_of_the_host_is_there(host: MetricsHost, path: str) -> None:
    assert host.get(path) == "404"


def test_who_is_no_monitor_host_reads_nothing(host: MetricsHost) -> None:
    stranger = certificate_authority.load(certificate_authority.create("another", NOW), where="there")
    assert host.get("/node/metrics", shows="cpu1") == "403"
    assert host.get("/node/metrics", shows="") == ""
    assert host.get("/node/metrics", shows="web3", authority=stranger) == ""
    # HAProxy closes a connection that does not begin with TLS.
    assert host.get("/node/metrics", scheme="http") == ""
