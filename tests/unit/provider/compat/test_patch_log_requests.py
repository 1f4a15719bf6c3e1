"""Whom an api-server asks for logs: a task names its host, and must not send the request wherever it likes."""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from airflow.utils.log import file_task_handler
from airflow.utils.log.file_task_handler import FileTaskHandler

from airfleet.workspace import certificate_authority
from airfleet_provider.compat.calls import config
from airfleet_provider.compat.patches import log_requests
from deadline import PATIENCE_S

WORKER = "10.0.0.31"


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test leave the patch to another."""
    for owner, name in (
        (file_task_handler, "_fetch_logs_from_service"),
        (requests.sessions.SessionRedirectMixin, "get_redirect_target"),
        (requests.sessions.Session, "merge_environment_settings"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were asked for, by an api-server of a fleet with one worker host."""
    urls: list[str] = []

    def fetch(url: str, log_relative_path: str) -> Any:  # noqa: ANN401
        urls.append(url)
        return SimpleNamespace(status_code=200, headers={}, raise_for_status=lambda: None)

    file = tmp_path / "log_servers.json"
    file.write_text(json.dumps({name: {"url": f"http://{name}"} for name in (f"{WORKER}:8793", "10.0.0.11:8794")}))
    monkeypatch.setattr(file_task_handler, "_fetch_logs_from_service", fetch)
    monkeypatch.setattr(config, "read_setting", lambda *_: str(file))
    log_requests.restrict()
    log_requests.restrict()
    return urls


def ask(tmp_path: Path, hostname: str) -> list[str]:
    """What is shown of a task that says it runs on this host."""
    task: Any = SimpleNamespace(hostname=hostname, triggerer_job=None, task=None)
    return list(FileTaskHandler(str(tmp_path))._read_from_logs_server(task, "dag_id=d/run_id=r/attempt=1.log")[0])


def test_a_worker_of_the_fleet_is_asked(asked: list[str], tmp_path: Path) -> None:
    ask(tmp_path, WORKER)
    assert asked == [f"http://{WORKER}:8793/log/dag_id=d/run_id=r/attempt=1.log"]


@pytest.mark.parametrize(
    "hostname",
    [
        "169.254.169.254:80/latest/meta-data?",
        "10.0.0.99",
        f"{WORKER}:22",
        f"{WORKER}:22/",
        f"x@{WORKER}",
        f"{WORKER}:8793@10.0.0.99",
        "10.0.0.11",
        f"10.0.0.99/{WORKER}:8793",
        f"10.0.0.99#{WORKER}",
        f"10.0.0.99\\@{WORKER}",
    ],
)
def test_nobody_else_is_asked_whatever_a_task_says(asked: list[str], tmp_path: Path, hostname: str) -> None:
    told = ask(tmp_path, hostname)
    assert asked == []
    assert "serves no logs of this fleet" in told[0]


def test_a_list_that_cannot_be_read_lets_nobody_be_asked(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "log_servers.json").unlink()
    ask(tmp_path, WORKER)
    assert asked == []


def test_without_a_list_airflow_asks_whomever_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    before = file_task_handler._fetch_logs_from_service
    monkeypatch.setattr(config, "read_setting", lambda *_: "")
    log_requests.restrict()
    assert file_task_handler._fetch_logs_from_service is before


class Recorder(ThreadingHTTPServer):
    """A server of HTTP on this machine; it answers with a redirect to `target`, or with a text if there is none."""

    def __init__(self, target: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def end(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Recorder)
        server.asked.append(self.path)
        self.send_response(302 if server.target else 200)
        self.send_header("Location", server.target) if server.target else None
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"secret")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("is_known", [True, False])
def test_a_log_server_with_tls_has_to_prove_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    now = datetime.now(UTC)
    authorities = [certificate_authority.load(certificate_authority.create("f", now), where="x") for _ in range(2)]
    own = certificate_authority.issue(authorities[0], "worker", ["127.0.0.1"], now)
    (tmp_path / "own.pem").write_text(own.certificate + own.key.reveal())
    (tmp_path / "ca.pem").write_text(authorities[0 if is_known else 1].pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    worker = Recorder(tls=context)
    try:
        file = tmp_path / "log_servers.json"
        how = {"url": f"https://{worker.place}", "authorities": str(tmp_path / "ca.pem")}
        file.write_text(json.dumps({f"{WORKER}:8793": how}))
        monkeypatch.setattr(config, "read_setting", lambda *_: str(file))
        monkeypatch.setattr(file_task_handler.conf, "getint", lambda section, key, **_: 8793 if "port" in key else 5)
        # Of the environment, a fleet believes nothing.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "own.pem"))
        log_requests.restrict()
        told = ask(tmp_path, WORKER)
        assert worker.asked == (["/log/dag_id=d/run_id=r/attempt=1.log"] if is_known else [])
        assert is_known or "certificate verify failed" in told[0]
        # Other requests of the process are verified as before.
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"https://{worker.place}/", timeout=PATIENCE_S)
    finally:
        worker.end()


def test_a_log_server_that_a_task_took_over_sends_the_api_server_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Recorder()
    worker = Recorder(f"http://{inside.place}/latest/meta-data")
    try:
        file = tmp_path / "log_servers.json"
        file.write_text(json.dumps({worker.place: {"url": f"http://{worker.place}"}}))
        monkeypatch.setattr(config, "read_setting", lambda *_: str(file))
        monkeypatch.setattr(file_task_handler.conf, "getint", lambda *_, **__: 5)
        log_requests.restrict()
        task: Any = SimpleNamespace(hostname="127.0.0.1", triggerer_job=None, task=None)
        handler = FileTaskHandler(str(tmp_path))
        url = f"http://{worker.place}/log/dag_id=d/attempt=1.log"
        monkeypatch.setattr(handler, "_get_log_retrieval_url", lambda *_, **__: (url, "dag_id=d/attempt=1.log"))
        told, _ = handler._read_from_logs_server(task, "dag_id=d/attempt=1.log")
        assert worker.asked == ["/log/dag_id=d/attempt=1.log"]
        assert inside.asked == []
        assert "redirects the request" in next(iter(told))
        # Other requests of the process are followed as before.
        assert requests.get(f"http://{worker.place}/", timeout=PATIENCE_S).text == "secret"
    finally:
        worker.end()
        inside.end()
