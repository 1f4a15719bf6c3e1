"""The health that users see, asked from the hosts themselves, because this machine may reach them by SSH only."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.runners.fleet.survey import outside_health
from shells import ShellHere

WELL = {name: {"status": "healthy"} for name in outside_health.COMPONENTS}


class Ui(http.server.BaseHTTPRequestHandler):
    """A UI that reports an unhealthy triggerer, and 404 for other paths."""

    def do_GET(self) -> None:
        is_health = self.path == "/api/v2/monitor/health"
        self.send_response(200 if is_health else 404)
        self.end_headers()
        self.wfile.write(json.dumps(WELL | {"triggerer": {"status": "unhealthy"}}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ui)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class Host:
    """A host whose shell is this machine's, or one that is away."""

    def __init__(self, *, away: bool = False) -> None:
        system = SimpleNamespace(python=sys.executable)
        self.desired = SimpleNamespace(place=SimpleNamespace(machine=SimpleNamespace(system=system)))
        self.connection = ShellHere(away=away)


def look(url: str, *hosts: Any) -> dict[str, tuple[bool, str]]:  # noqa: ANN401
    return {
        observation.what: (observation.is_well, observation.detail)
        for observation in outside_health.look_at_ui(url, hosts)
    }


def test_a_host_is_asked_what_the_ui_says(url: str) -> None:
    seen = look(url, Host())
    assert seen.pop(url) == (True, "answers")
    assert seen.pop("triggerer") == (False, "unhealthy")
    assert set(seen.values()) == {(True, "healthy")}


def test_the_next_host_is_asked_where_one_is_away_or_cannot_reach_it(url: str) -> None:
    first, second, third = Host(away=True), Host(), Host()
    assert look(url, first, second, third)[url] == (True, "answers")
    assert [len(host.connection.scripts) for host in (first, second, third)] == [1, 1, 0]


def test_what_does_not_answer_and_what_is_no_ui_are_told(url: str) -> None:
    assert "refused" in look("http://127.0.0.1:1", Host())["http://127.0.0.1:1"][1]
    assert look(f"{url}/other", Host())[f"{url}/other"] == (False, "HTTP Error 404: Not Found")
    assert look(url) == {url: (False, "no host can reach it")}
