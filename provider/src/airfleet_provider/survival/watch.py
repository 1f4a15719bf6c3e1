"""What a scheduler asks before it calls a silent task dead: could tasks report?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from airfleet_provider.survival.patience import Patience

ANSWER_S = 3.0


@dataclass(slots=True)
class Watch:
    """One scheduler's patience with silent tasks, which report to any of the URLs."""

    urls: Sequence[str]
    timeout_s: float
    clock: Callable[[], float] = time.monotonic
    patience: Patience = field(default_factory=Patience)

    def may_judge(self) -> bool:
        """Look now, and say whether silence means death."""
        self.patience = self.patience.look(self.clock(), could_report=self._could_report())
        return self.patience.is_over(self.clock(), self.timeout_s)

    def _could_report(self) -> bool:
        return any(_answers(url) for url in self.urls)


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        url = f"{parts.scheme}://{parts.netloc}/execution/health"
        # Reading all certificates that there are takes 20 CPU-ms, and without TLS there is nothing to verify.
        return httpx.get(url, timeout=ANSWER_S, verify=parts.scheme == "https").status_code < 500
    except httpx.HTTPError:
        return False
