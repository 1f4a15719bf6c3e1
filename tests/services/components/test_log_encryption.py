"""How web hosts read the logs of other hosts: with TLS once all of them can, through a real HAProxy of those hosts."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from airfleet.components.host_model import AUTHORITIES, Encryption, Part, Place, TlsProgress
from airfleet.components.hosts import airflow, haproxy, host_parts
from airfleet.components.model import reveal
from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from deadline import PATIENCE_S, wait_until
from places import CREDENTIALS, NINE, parse, place

PROGRAM = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
NOW = datetime.now(UTC)
OFFERED, USED, REQUIRED = STEPS = [
    TlsProgress(is_used=False, is_required=False),
    TlsProgress(is_used=True, is_required=False),
    TlsProgress(is_used=True, is_required=True),
]
# A network of the loopback for this run, so that a host has an address beside the loopback's.
NETWORK = f"127.{random.SystemRandom().randrange(64, 128)}.{random.SystemRandom().randrange(1, 255)}"


def find_place(name: str, progress: TlsProgress, text: str = NINE) -> Place:
    encryption = replace(CREDENTIALS.encryption, logs=progress)
    return replace(place(parse(text), name), credentials=replace(CREDENTIALS, encryption=encryption))


def find_parts(name: str, progress: TlsProgress = REQUIRED, text: str = NINE) -> tuple[Part, ...]:
    return host_parts.describe(find_place(name, progress, text), ssh_ports=(22,))


def read_list(where: Place) -> dict[str, Any]:
    """What a web host knows of the log servers."""
    parts = host_parts.describe(where, ssh_ports=(22,))
    (file,) = (file for part in parts for file in part.files if file.path == airflow.LOG_SERVERS)
    found: dict[str, Any] = json.loads(reveal(file.content))
    return found


@pytest.mark.parametrize("progress", STEPS)
def test_a_web_host_uses_tls_one_step_before_it_has_to(progress: TlsProgress) -> None:
    listed = read_list(find_place("web2", progress))
    assert listed.keys() == {
        *(f"10.0.0.{number}:8793" for number in (31, 32, 33)),
        *(f"10.0.0.{number}:8794" for number in (21, 22)),
    }
    scheme = "https" if progress.is_used else "http"
    for server, how in listed.items():
        assert how["url"] == f"{scheme}://{server}"
        assert how.get("authorities") == (str(AUTHORITIES) if progress.is_used else None)


def test_the_server_of_a_host_whose_logs_nobody_else_reads_stays_as_it_is() -> None:
    alone = "hosts: {one: {address: 10.0.0.1}}"
    services = {one.name: one for part in find_parts("one", text=alone) for one in part.services}
    assert "log-proxy" not in services
    assert "--host 10.0.0.1 --port 8793" in " ".join(services["worker-logs"].command)
    assert {how["url"] for how in read_list(find_place("one", REQUIRED, alone)).values()} == {
        "http://10.0.0.1:8793",
        "http://10.0.0.1:8794",
    }


def test_no_task_can_read_the_key_of_its_host() -> None:
    key = CREDENTIALS.encryption.certificates["cpu1"].key.reveal()
    for part in find_parts("cpu1"):
        for file in part.files:
            assert key not in reveal(file.content) or file.group not in {"airfleet-worker", "airfleet"}, file.path


class Log(BaseHTTPRequestHandler):
    """A log server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"the log")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class LogHost:
    """A worker host on the loopback: the URL of its logs without a scheme, and the authority that vouches for it."""

    server: str
    authority: str

    def get(self, scheme: str) -> str:
        """What a web host reads; nothing if it refuses the host, or the host refuses it."""
        with contextlib.suppress(httpx.TransportError):
            trust = ssl.create_default_context(cadata=self.authority)
            return httpx.get(f"{scheme}://{self.server}/log/x", verify=trust, trust_env=False, timeout=PATIENCE_S).text
        return ""


@contextlib.contextmanager
def serve(folder: Path, progress: TlsProgress, *, shows: str = "cpu1") -> Iterator[LogHost]:
    text = NINE.replace("10.0.0", NETWORK)
    authority = certificate_authority.load(certificate_authority.create("flights", NOW), where="here")
    known = {one.name: one.address for one in parse(text).hosts}
    issued = certificate_authority.issue(authority, shows, [known[shows]], NOW)
    credentials = replace(CREDENTIALS, encryption=Encryption(authority.pem, {"cpu1": issued}, logs=progress))
    where = replace(place(parse(text), "cpu1"), credentials=credentials)
    near = ThreadingHTTPServer(("127.0.0.1", 0), Log)
    port = ports.find_free()
    config = haproxy.render_logs(where).replace(":8795", f":{near.server_port}").replace(":8793", f":{port}")
    config = config.replace(str(haproxy.CERTIFICATE), str(folder / "own.pem"))
    config = re.sub(str(haproxy.SOCKETS), str(folder), config)
    (folder / "own.pem").write_text(issued.certificate + issued.key.reveal())
    (folder / "log-proxy.cfg").write_text(config)
    threading.Thread(target=near.serve_forever, args=(0.02,), daemon=True).start()
    with (folder / "log").open("w") as log:
        words = [str(PROGRAM), "-W", "-f", str(folder / "log-proxy.cfg")]
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield LogHost(f"{where.host.address}:{port}", authority.pem)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        near.shutdown()
        near.server_close()


@pytest.mark.skipif(PROGRAM is None, reason="HAProxy is not installed")
@pytest.mark.parametrize("progress", STEPS)
def test_the_host_answers_whom_the_steps_beside_this_one_send(tmp_path: Path, progress: TlsProgress) -> None:
    with serve(tmp_path, progress) as host:
        wait_until(lambda: host.get("https") == "the log", "the log")
        assert host.get("http") == ("" if progress.is_required else "the log")


@pytest.mark.skipif(PROGRAM is None, reason="HAProxy is not installed")
def test_another_host_of_the_fleet_is_not_taken_for_this_one(tmp_path: Path) -> None:
    with serve(tmp_path, OFFERED, shows="io1") as host:
        wait_until(lambda: host.get("http") == "the log", "the log")
        assert host.get("https") == ""
