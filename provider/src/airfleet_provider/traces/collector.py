"""Hands one request to the collector over HTTP, and says what is known then. It never waits longer than a limit."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import httpx

from airfleet_provider.contract.text import hide, one_line
from airfleet_provider.contract.tracing_policy import TracingPolicy
from airfleet_provider.network.retry_after import read_retry_after
from airfleet_provider.network.trust import trust
from airfleet_provider.traces import otlp

# Seconds for a connection and for each piece of an answer, and for all of it: a collector may send a byte at a time.
ANSWER_S = 10.0
WHOLE_S = 30.0
READ_BYTES = 65_536
DETAIL_BYTES = 300
# A shorter value of a header is no secret, and would be hidden in every word that has it.
SHORTEST_SECRET = 6
_TOO_LARGE = 413


class ExportVerdict(StrEnum):
    """What is known of a request after an attempt."""

    TAKEN = "taken"
    # The collector has taken it or not. To send it again is right in both cases: it is the same spans.
    LATER = "later"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """The verdict and why; how many spans of a request that was taken were refused; when to try again."""

    verdict: ExportVerdict
    detail: str = ""
    rejected: int = 0
    retry_after_s: float = 0.0


class Collector:
    """The collector of a policy. Used by one thread."""

    def __init__(self, policy: TracingPolicy, *, whole_s: float = WHOLE_S) -> None:
        self._policy = policy
        self._whole_s = whole_s
        self._thread: threading.Thread | None = None

    def send(self, body: bytes) -> ExportOutcome:
        """Post a request, and return what is known after `whole_s` seconds at most. Never raises for a network's deeds.

        A library's time-out is one for each piece of an answer. So the request has a thread of its own, which is left
        alone if it does not come back; until it does, there is no other.
        """
        if self._thread is not None and self._thread.is_alive():
            return ExportOutcome(ExportVerdict.LATER, "the answer to an earlier request has not ended yet")
        found: list[ExportOutcome] = []
        self._thread = threading.Thread(target=lambda: found.append(self._post(body)), name="collector", daemon=True)
        self._thread.start()
        self._thread.join(self._whole_s)
        return found[0] if found else ExportOutcome(ExportVerdict.LATER, f"no answer in {self._whole_s:.0f} s")

    def _post(self, body: bytes) -> ExportOutcome:
        headers = {
            **self._policy.headers,
            "Content-Type": otlp.CONTENT_TYPE,
            "Content-Encoding": "gzip",
            "User-Agent": "airfleet",
        }
        try:
            packed = gzip.compress(body, compresslevel=5, mtime=0)
            with (
                httpx.Client(timeout=ANSWER_S, verify=trust(self._policy.authority), follow_redirects=False) as client,
                client.stream("POST", self._policy.url, content=packed, headers=headers) as answer,
            ):
                outcome = _judge(
                    answer.status_code, _read(answer.iter_bytes(4096)), answer.headers.get("Retry-After", "")
                )
        except Exception as error:
            # Whatever it is, the trace waits. An error that ended the thread would look like an answer that hangs.
            outcome = ExportOutcome(ExportVerdict.LATER, f"{type(error).__name__}: {error}")
        return ExportOutcome(outcome.verdict, self._hide(outcome.detail), outcome.rejected, outcome.retry_after_s)

    def _hide(self, detail: str) -> str:
        """Return what may be logged. Some servers repeat a header in their answer."""
        words = {word for value in self._policy.headers.values() for word in [value, *re.split(r"[\s,;:=]", value)]}
        return one_line(hide(detail, (word for word in words if len(word) >= SHORTEST_SECRET)), DETAIL_BYTES)


def _read(pieces: Iterator[bytes]) -> bytes:
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > READ_BYTES:
            break
    return bytes(found[:READ_BYTES])


def _judge(status: int, body: bytes, retry_after: str) -> ExportOutcome:
    if 200 <= status < 300:
        rejected, why = otlp.read_rejected(body)
        return ExportOutcome(ExportVerdict.TAKEN, why, rejected)
    detail = f"{status} {body[:1000].decode('utf-8', 'replace')}".strip()
    if status == _TOO_LARGE:
        return ExportOutcome(ExportVerdict.TOO_LARGE, detail)
    # OTLP lets a client drop what is answered with another status than 429, 502, 503 or 504. But most of these are for
    # an operator to mend: a wrong header, path or port. Nothing is lost until then.
    return ExportOutcome(ExportVerdict.LATER, detail, retry_after_s=read_retry_after(retry_after))
