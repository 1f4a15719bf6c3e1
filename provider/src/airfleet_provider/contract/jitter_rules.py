"""How much later than its cron a Dag's run begins: the rules of fleet.yaml, and the delay of a Dag (ADR 93). No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

# The place of the rules in airflow.cfg.
SECTION, KEY = "airfleet", "jitter"


@dataclass(frozen=True, slots=True)
class JitterRule:
    """Runs of Dags whose whole id matches `dag` begin up to `within_s` seconds later. None matches all."""

    name: str
    dag: str | None = None
    within_s: int = 0

    def fits(self, dag_id: str) -> bool:
        """Return whether the rule is about a Dag."""
        return self.dag is None or re.fullmatch(self.dag, dag_id) is not None


def find_delay(rules: Iterable[JitterRule], dag_id: str, gap_s: float | None = None) -> int:
    """Return the whole seconds by which the runs of a Dag begin later, by the first rule that fits.

    Guarantees: it is the same for a Dag always and everywhere; it is less than `within_s`; it is at most half of
    `gap_s`, the least time between two moments of the cron, so that a run still begins before the next one is due.
    """
    within_s: float = next((rule.within_s for rule in rules if rule.fits(dag_id)), 0)
    if gap_s is not None:
        within_s = min(within_s, gap_s / 2)
    share: float = int.from_bytes(hashlib.sha256(dag_id.encode()).digest()[:6]) / 2**48
    return int(within_s * share)


def render(rules: Iterable[JitterRule]) -> str:
    """Return rules as the text that airflow.cfg holds."""
    return json.dumps([asdict(one) for one in rules])


def parse(text: str) -> tuple[JitterRule, ...]:
    """Return the rules of such a text; none for an empty one."""
    return tuple(JitterRule(**one) for one in json.loads(text or "[]"))
