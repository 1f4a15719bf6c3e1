"""What a scheduler asks before it calls a silent task dead: could tasks report, and is its host still there?"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from airfleet_provider.survival.asking import PATH, Asker
from airfleet_provider.survival.patience import Patience
from airfleet_provider.survival.pulse import Pulse

ANSWER_S = 3.0
# A host is lost that left a question unanswered for so long, in which TCP asks four times; its tasks are dead then
# that were silent for so long themselves.
HOST_SILENT_S, LOST_S = 9.0, 20.0


@dataclass(slots=True)
class Watch:
    """One scheduler's patience with silent tasks, which report to any of the URLs."""

    urls: Sequence[str]
    timeout_s: float
    clock: Callable[[], float] = time.monotonic
    patience: Patience = field(default_factory=Patience)
    pulse: Pulse | None = None
    asker: Asker = field(init=False)

    def __post_init__(self) -> None:
        self.asker = Asker([url for url in self.urls if not _is_encrypted(url)], ANSWER_S)

    @property
    def asks_hosts(self) -> bool:
        """Whether tasks run on hosts that may be lost without this scheduler."""
        return self.pulse is not None

    def may_judge(self) -> bool:
        """Look now, and say whether silence means death."""
        self.patience = self.patience.look(self.clock(), could_report=self._could_report())
        return self.patience.is_over(self.clock(), self.timeout_s)

    def find_lost(self, hosts: Collection[str]) -> frozenset[str]:
        """Of the hosts that run tasks those that are gone, and nothing else that tasks need is; asks them anew."""
        if self.pulse is None:
            return frozenset()
        self.pulse.feel(hosts)
        if not self.patience.is_over(self.clock(), LOST_S):
            return frozenset()
        return frozenset(host for host in hosts if self.pulse.is_silent(host, HOST_SILENT_S))

    def _could_report(self) -> bool:
        return self.asker.hears() or any(_answers(url) for url in self.urls if _is_encrypted(url))


def _is_encrypted(url: str) -> bool:
    """On a fleet tasks report inside of its network, without TLS; elsewhere there is one URL at most."""
    return urlsplit(url).scheme == "https"


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"https://{urlsplit(url).netloc}{PATH}", timeout=ANSWER_S).status_code < 500
    except httpx.HTTPError:
        return False
