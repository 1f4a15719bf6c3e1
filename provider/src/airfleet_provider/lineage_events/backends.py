"""Posts one event to a backend, and says what is known then. It never waits longer than a limit.

What differs: Marquez takes every event and answers 201. DataHub takes every event below another path. OpenMetadata
makes lineage only of an event that is complete and has both an input and an output, so the others are not sent there.
All take a token as `Authorization: Bearer`.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from enum import StrEnum

import httpx

from airfleet_provider.contract.openlineage_policy import BackendKind, LineageBackend
from airfleet_provider.contract.text import hide, one_line
from airfleet_provider.lineage_events.facts import EventFacts
from airfleet_provider.network.retry_after import read_retry_after
from airfleet_provider.network.trust import trust

# Seconds for a connection and for each piece of an answer, and for all of it: a backend may send a byte at a time.
ANSWER_S = 10.0
WHOLE_S = 30.0
DETAIL_BYTES = 300
# What says that this event is not understood, and not that the backend or its address is wrong. It is sent some times
# again, as 400 may also be a bug that is mended.
_REFUSED = frozenset({400, 413, 422})


class RelayVerdict(StrEnum):
    """What is known of an event after an attempt."""

    TAKEN = "taken"
    # The backend refused this event. The next one may be taken.
    REFUSED = "refused"
    # The backend has taken it or not, and others would fare as this one. To send it again is right in both cases.
    LATER = "later"


@dataclass(frozen=True, slots=True)
class RelayOutcome:
    """The verdict and why, and when to try again."""

    verdict: RelayVerdict
    detail: str = ""
    retry_after_s: float = 0.0


def wants(backend: LineageBackend, dag: str, facts: EventFacts) -> bool:
    """Whether an event of a Dag goes to a backend."""
    if not backend.wants(dag):
        return False
    if backend.kind is BackendKind.OPENMETADATA:
        return facts.kind == "COMPLETE" and facts.has_both
    return True


def takes_starts(backend: LineageBackend) -> bool:
    """Whether a backend makes something of the event of a start."""
    return backend.kind is not BackendKind.OPENMETADATA


class LineageReceiver:
    """The connection to one backend. Used by one thread."""

    def __init__(self, backend: LineageBackend, *, whole_s: float = WHOLE_S) -> None:
        self.backend = backend
        self._whole_s = whole_s
        self._thread: threading.Thread | None = None
        # Kept from one event to the next, as making it takes longer than all else. A failure ends it.
        self._client: httpx.Client | None = None

    def send(self, body: str) -> RelayOutcome:
        """Post an event, and return what is known after `whole_s` seconds at most. It never raises."""
        if self._thread is not None and self._thread.is_alive():
            return RelayOutcome(RelayVerdict.LATER, "the answer to an earlier event has not ended yet")
        found: list[RelayOutcome] = []
        self._thread = threading.Thread(target=lambda: found.append(self._post(body)), name="lineage", daemon=True)
        self._thread.start()
        self._thread.join(self._whole_s)
        return found[0] if found else RelayOutcome(RelayVerdict.LATER, f"no answer in {self._whole_s:.0f} s")

    def _post(self, body: str) -> RelayOutcome:
        headers = {"Content-Type": "application/json", "User-Agent": "airfleet"}
        if self.backend.token:
            headers["Authorization"] = f"Bearer {self.backend.token}"
        try:
            client = self._find_client()
            with client.stream("POST", self.backend.endpoint, content=body.encode(), headers=headers) as answer:
                status, wait = answer.status_code, answer.headers.get("Retry-After", "")
                said = next(answer.iter_bytes(2048), b"").decode("utf-8", "replace")
        except Exception as error:
            self._drop_client()
            return RelayOutcome(RelayVerdict.LATER, self._hide(f"{type(error).__name__}: {error}"))
        if 200 <= status < 300:
            return RelayOutcome(RelayVerdict.TAKEN)
        verdict = RelayVerdict.REFUSED if status in _REFUSED else RelayVerdict.LATER
        return RelayOutcome(verdict, self._hide(f"{status} {said}".strip()), read_retry_after(wait))

    def _find_client(self) -> httpx.Client:
        if self._client is None:
            # A connection that rests ends long before a server or a proxy would end it.
            limits = httpx.Limits(max_connections=1, keepalive_expiry=2.0)
            verify = trust(self.backend.authority)
            self._client = httpx.Client(timeout=ANSWER_S, verify=verify, follow_redirects=False, limits=limits)
        return self._client

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _hide(self, detail: str) -> str:
        """Return what may be logged. Some servers repeat a header in their answer."""
        words = [self.backend.token, *re.split(r"[\s,;:=]", self.backend.token)]
        return one_line(hide(detail, (word for word in words if len(word) >= 6)), DETAIL_BYTES)
