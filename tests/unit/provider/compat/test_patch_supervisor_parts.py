"""What supervisors keep for all their tasks belongs to none of them, and is what Airflow itself would make."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import supervisor
from airflow.sdk.execution_time.supervisor import _ensure_client
from pydantic import TypeAdapter, ValidationError

from airfleet_provider.compat.patches import supervisor_parts
from airfleet_provider.compat.patches.patch import apply, undo
from airfleet_provider.network.http_transport import PlainTransport
from forked import run_forked

# What differs from request to request.
OWN = {"correlation-id", "authorization"}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]] = []  # noqa: RUF012 - each test has a class of its own

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        if self.path.endswith("/renew"):
            self.send_header("Refreshed-API-Token", "renewed")
            self.send_header("Set-Cookie", "node=a; Path=/")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    class Own(Answers):
        seen: list[dict[str, str]] = []  # noqa: RUF012 - of this test

    handler = Own
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        found.daemon_threads = True
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{found.server_port}/execution/", seen=handler.seen)
        found.shutdown()


@pytest.fixture
def patched() -> Iterator[None]:
    apply(supervisor_parts.CLIENT)
    yield
    undo(supervisor_parts.CLIENT)


def request(server: SimpleNamespace, token: str, *paths: str) -> tuple[Any, list[dict[str, str]]]:
    """Return a client as it is after requests and its end, and the headers of these requests."""
    before = len(server.seen)
    with supervisor._ensure_client(server.url, token) as client:
        for path in paths:
            client.get(path)
    return client, server.seen[before:]


@pytest.mark.usefixtures("patched")
def test_a_copied_client_sends_what_a_client_of_airflows_sends(server: SimpleNamespace) -> None:
    with _ensure_client(server.url, "one") as usual:
        usual.get("health")
    client, (sent,) = request(server, "one", "health")
    assert isinstance(client._transport, PlainTransport)
    assert client.is_closed
    assert sent["authorization"] == server.seen[0]["authorization"] == "Bearer one"
    assert {**sent, **dict.fromkeys(OWN)} == {**server.seen[0], **dict.fromkeys(OWN)}


@pytest.mark.usefixtures("patched")
def test_what_one_task_gets_from_the_api_no_other_sends(server: SimpleNamespace) -> None:
    _, sent = request(server, "one", "renew", "health")
    assert (sent[1]["authorization"], sent[1]["cookie"]) == ("Bearer renewed", "node=a")
    first, _ = request(server, "two")
    first.headers["x-mine"] = "1"
    _, (sent_later,) = request(server, "three", "health")
    assert sent_later["authorization"] == "Bearer three"
    assert not {"cookie", "x-mine"} & set(sent_later)


@pytest.mark.usefixtures("patched")
@pytest.mark.parametrize("url", ["https://127.0.0.1:1/execution/", "ftp://127.0.0.1/", ""])
def test_a_client_for_another_kind_of_url_is_airflows_own(url: str) -> None:
    def end(make: Any) -> tuple[str, str]:  # noqa: ANN401 - a function that opens a client
        try:
            with make(url, "one") as client:
                return type(client._transport).__name__, str(client.base_url)
        except Exception as error:
            return type(error).__name__, str(error)

    assert end(supervisor._ensure_client) == end(_ensure_client)


@pytest.mark.usefixtures("patched")
def test_a_client_through_a_proxy_is_airflows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with supervisor._ensure_client("http://elsewhere.example:1/execution/", "one") as client:
        assert not isinstance(client._transport, PlainTransport)
        assert any(client._mounts.values())


def read_messages() -> list[object]:
    from airflow.executors import workloads  # noqa: PLC0415 - in the fork, before and after the patch

    message = b'{"type": "TestConnection", "token": "t", "connection_test_id": "01890a5d-ac96-774b-bcce-b302099a8057",'
    message += b' "connection_id": "c", "timeout": 3}'
    own = TypeAdapter(workloads.ExecutorWorkload).validate_json(message)
    supervisor_parts.share_workloads()
    reader = TypeAdapter[Any](workloads.ExecutorWorkload)
    try:
        reader.validate_json(b'{"type": "Other"}')
    except ValidationError as error:
        refusal = error.errors()[0]["type"]
    return [reader.validate_json(message) == own, type(own).__name__, refusal]


def test_messages_are_read_as_airflow_reads_them() -> None:
    assert run_forked(read_messages) == [True, "TestConnection", "union_tag_invalid"]
