"""A worker is given a release whatever the difference between its clock and the web host's."""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airfleet_provider.bundles import archive_client
from airfleet_provider.contract import environment
from airfleet_provider.network import signed_requests

KEY = "the key that all hosts share"


@contextmanager
def web_host(skew_s: float) -> Iterator[tuple[str, list[int]]]:
    """The downloads of a host whose clock is ahead by so much, and what it answered."""
    answers: list[int] = []

    class Shelf(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            now = time.time() + skew_s
            moment, signature = (
                self.headers[signed_requests.TIME_HEADER],
                self.headers[signed_requests.SIGNATURE_HEADER],
            )
            is_signed = archive_client.is_signed(KEY, self.path.rpartition("/")[2], moment, signature, now)
            answers.append(200 if is_signed else 403)
            self.send_response_only(answers[-1])
            self.send_header("Date", formatdate(now, usegmt=True))
            self.end_headers()
            if is_signed:
                self.wfile.write(b"an archive")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()


@pytest.mark.parametrize(
    ("skew_s", "expected"),
    [(-600, [403, 200]), (-200, [200]), (0, [200]), (200, [200]), (600, [403, 200])],
)
def test_a_release_is_given_over_any_difference(
    monkeypatch: pytest.MonkeyPatch, skew_s: int, expected: list[int]
) -> None:
    with web_host(skew_s) as (url, answers):
        monkeypatch.setenv(environment.RELEASES, url)
        assert archive_client.fetch("r1", KEY) == b"an archive"
    assert answers == expected


def test_who_does_not_know_the_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_host(0) as (url, answers):
        monkeypatch.setenv(environment.RELEASES, url)
        with pytest.raises(urllib.error.HTTPError):
            archive_client.fetch("r1", "another key")
    assert answers == [403, 403]
