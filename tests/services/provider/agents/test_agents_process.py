"""The agents process as its supervisor and its readers see it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from airfleet_provider.agent_loops import server as server_module
from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.agent_loops.server import HttpAnswer, Server, ServerTls
from airfleet_provider.agents.process import AgentsProcess
from deadline import PATIENCE_S, wait_until

AWAY = {"host": "127.0.0.1", "port": 1, "connect_timeout": 1, "user": "nobody", "dbname": "nothing"}


def fail(context: Context) -> None:
    raise RuntimeError("it is broken")


@pytest.fixture
def process() -> Iterator[AgentsProcess]:
    one = AgentsProcess({"host": "here", "database": AWAY}, [Loop("broken", 0.01, fail, only_active=False)])
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    yield one
    one.stopping.set()
    thread.join(PATIENCE_S)


@pytest.fixture
def url(process: AgentsProcess) -> Iterator[str]:
    port = ports.find_free()
    server = Server("127.0.0.1", port, {"/health": process.show_health, "/ready": process.show_ready})
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


def test_an_outage_is_no_reason_to_restart_and_is_told(process: AgentsProcess, url: str) -> None:
    wait_until(lambda: all(one.state.failures for one in process.threads), "failures")
    health = httpx.get(f"{url}/health", trust_env=False, timeout=PATIENCE_S)
    assert health.status_code == 200
    assert health.json()["active"] is False
    ready = httpx.get(f"{url}/ready", trust_env=False, timeout=PATIENCE_S)
    assert ready.status_code == 503
    assert "it is broken" in ready.json()["loops"]["broken"]["error"]
    assert "refused" in ready.json()["loops"]["lease"]["error"].lower()
    assert httpx.get(f"{url}/other", trust_env=False, timeout=PATIENCE_S).status_code == 404


def test_clients_that_say_nothing_take_few_threads_and_keep_nobody_out(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module._Handler, "timeout", 60.0)
    before, port = threading.active_count(), int(url.rpartition(":")[2])
    with ExitStack() as stack:
        for _ in range(3 * server_module.MOST_AT_ONCE):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
            idle.sendall(b"POST /alerts HTTP/1.0\r\n")
        assert httpx.get(f"{url}/health", trust_env=False, timeout=PATIENCE_S).status_code == 200
        most = before + server_module.MOST_AT_ONCE + 1
        wait_until(lambda: threading.active_count() <= most, "threads that end")


def test_a_request_that_comes_byte_by_byte_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "WHOLE_REQUEST_S", 0.3)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=PATIENCE_S) as slow:

        def is_ended() -> bool:
            try:
                slow.sendall(b"x")
            except OSError:
                return True
            return False

        slow.sendall(b"GET /")
        wait_until(is_ended, "the end of the connection")


@dataclass(frozen=True)
class Secured:
    """A server with TLS at an address of its own, with the certificate of a fleet's authority."""

    folder: Path
    port: int
    authority: certificate_authority.Authority

    def renew(self) -> None:
        issued = certificate_authority.issue(self.authority, "here", ["127.0.0.2"], datetime.now(UTC))
        (self.folder / "host.pem").write_text(issued.certificate)
        (self.folder / "host.key").write_text(issued.key.reveal())

    def ask(self, scheme: str, *, address: str = "127.0.0.2", near: str = "") -> httpx.Response:
        context = ssl.create_default_context(cadata=self.authority.pem)
        transport = httpx.HTTPTransport(verify=context, local_address=near or None)
        with httpx.Client(transport=transport, timeout=PATIENCE_S) as client:
            return client.get(f"{scheme}://{address}:{self.port}/health")

    def show(self) -> bytes:
        """The certificate that the server shows."""
        context = ssl.create_default_context(cadata=self.authority.pem)
        with (
            socket.create_connection(("127.0.0.2", self.port), timeout=PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.2") as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""


@contextmanager
def serve_tls(folder: Path, *, is_required: bool) -> Iterator[Secured]:
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("flights", now), where="here")
    secured = Secured(folder, ports.find_free(), authority)
    secured.renew()
    tls = ServerTls(folder / "host.pem", folder / "host.key", is_required=is_required)
    server = Server("127.0.0.2", secured.port, {"/health": lambda accept: HttpAnswer.of_json({})}, tls=tls)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield secured
    finally:
        server.shutdown()
        server.server_close()


def test_another_host_has_to_speak_tls_and_this_one_may(tmp_path: Path) -> None:
    with serve_tls(tmp_path, is_required=True) as server:
        assert server.ask("https", near="127.0.0.1").status_code == 200
        with pytest.raises(httpx.TransportError):
            server.ask("http", near="127.0.0.1")
        assert server.ask("http", near="127.0.0.2").status_code == 200
    with serve_tls(tmp_path, is_required=False) as server:
        for scheme in ("https", "http"):
            assert server.ask(scheme, near="127.0.0.1").status_code == 200


def test_a_new_certificate_needs_no_restart(tmp_path: Path) -> None:
    with serve_tls(tmp_path, is_required=True) as server:
        before = server.show()
        server.renew()
        assert server.show() != before
        (tmp_path / "host.key").write_text("half of a key")
        with pytest.raises((OSError, ssl.SSLError)):
            server.show()
        server.renew()
        assert server.show()


def test_a_client_that_makes_no_handshake_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 60.0)
    with serve_tls(tmp_path, is_required=True) as server, ExitStack() as stack:
        before = threading.active_count()
        for begin in (b"", b"\x16", b"\x16\x03\x01") * server_module.MOST_AT_ONCE:
            idle = stack.enter_context(socket.create_connection(("127.0.0.2", server.port), timeout=PATIENCE_S))
            idle.sendall(begin)
        assert server.ask("https").status_code == 200
        most = before + server_module.MOST_AT_ONCE + 1
        wait_until(lambda: threading.active_count() <= most, "threads that end")


def test_who_opens_many_connections_ends_no_others_one() -> None:
    bounds = server_module.Bounds(at_once=6, of_one=2)
    with ExitStack() as stack:
        server = stack.enter_context(server_module.Server("127.0.0.1", 0, {}, bounds=bounds))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        stack.callback(server.shutdown)
        to = ("127.0.0.1", server.server_address[1])
        well = stack.enter_context(socket.create_connection(to, timeout=PATIENCE_S))
        many = [
            stack.enter_context(socket.create_connection(to, timeout=PATIENCE_S, source_address=("127.0.0.2", 0)))
            for _ in range(9)
        ]
        assert many[0].recv(1) == b""
        well.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert well.recv(100).startswith(b"HTTP/1.0 404")


def test_a_process_beside_airflow_does_not_hold_airflow_in_its_memory() -> None:
    heavy = {"airflow", "celery", "fastapi", "flask_appbuilder", "numpy", "pandas", "pyarrow", "sqlalchemy"}
    code = (
        "import sys, airfleet_provider.agents.process, airfleet_provider.log_agent.process;"
        f"print(*({heavy} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert told.stdout.split() == []
