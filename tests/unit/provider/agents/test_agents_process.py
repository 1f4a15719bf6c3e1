"""The agents process as its supervisor and its readers see it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from airfleet.runners.local import ports
from airfleet_provider.agent_loops import server as server_module
from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.agent_loops.server import Server
from airfleet_provider.agents.process import AgentsProcess, read_config
from deadline import wait_until

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
    thread.join(20)


@pytest.fixture
def url(process: AgentsProcess) -> Iterator[str]:
    port = ports.find_free()
    server = Server("127.0.0.1", port, {"/health": process.show_health, "/ready": process.show_ready})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


def test_an_outage_is_no_reason_to_restart_and_is_told(process: AgentsProcess, url: str) -> None:
    wait_until(lambda: all(one.state.failures for one in process.threads), "failures", timeout_s=60)
    health = httpx.get(f"{url}/health", trust_env=False)
    assert health.status_code == 200
    assert health.json()["active"] is False
    ready = httpx.get(f"{url}/ready", trust_env=False)
    assert ready.status_code == 503
    assert "it is broken" in ready.json()["loops"]["broken"]["error"]
    assert "refused" in ready.json()["loops"]["lease"]["error"].lower()
    assert httpx.get(f"{url}/other", trust_env=False).status_code == 404


def test_clients_that_say_nothing_take_few_threads_and_keep_nobody_out(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module._Handler, "timeout", 60.0)
    before, port = threading.active_count(), int(url.rpartition(":")[2])
    with ExitStack() as stack:
        for _ in range(3 * server_module.MOST_AT_ONCE):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            idle.sendall(b"POST /alerts HTTP/1.0\r\n")
        assert httpx.get(f"{url}/health", trust_env=False, timeout=20).status_code == 200
        most = before + server_module.MOST_AT_ONCE + 1
        wait_until(lambda: threading.active_count() <= most, "threads that end")


def test_a_request_that_comes_byte_by_byte_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "WHOLE_REQUEST_S", 0.3)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as slow:

        def is_ended() -> bool:
            try:
                slow.sendall(b"x")
            except OSError:
                return True
            return False

        slow.sendall(b"GET /")
        wait_until(is_ended, "the end of the connection", timeout_s=8)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"host": "here"}'])
def test_a_configuration_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agents.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"agents\.json"):
        read_config(path)


def test_a_configuration_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "agents.json"
    config = {"host": "here", "database": AWAY, "server": {"address": "127.0.0.1", "port": 1}, "slas": {"a": 1}}
    path.write_text(json.dumps(config))
    assert read_config(path) == config
