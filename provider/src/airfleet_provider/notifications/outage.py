"""Notifies people of an outage of the metadata database, where no alert can be written.

Each agents process does this for itself, from memory, and without the outbox: one message when the database has not
answered for AFTER_S seconds, and one when it answers again. A process that is restarted in between sends the first once
more. Every scheduler host has such a process, so a fleet with two of them sends two messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from airfleet_provider.contract.alert_schema import NotificationKind, Severity
from airfleet_provider.contract.notification_policy import NotificationPolicy, Receiver
from airfleet_provider.notifications import channels
from airfleet_provider.notifications.channels import DeliveryOutcome, DeliveryVerdict
from airfleet_provider.notifications.messages import Message, MessageEntry, compose

log = logging.getLogger(__name__)

EVERY_S = 10.0
# A fail-over to a replica takes less.
AFTER_S = 120.0
NAME = "MetadataDatabaseDown"
SOURCE = "airfleet"

Send = Callable[[Message, Receiver], DeliveryOutcome]


class OutageWatch:
    """The outages that one process sees. `clock` is monotonic; `wall` is in seconds since 1970."""

    def __init__(
        self,
        policy: NotificationPolicy,
        host: str,
        *,
        send: Send = channels.send,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._host = host
        self._send = send
        self._clock = clock
        self._wall = wall
        self._down_since: float | None = None
        self._begun = 0.0
        # The receivers that know of the outage, and not yet of its end.
        self._informed: set[str] = set()

    def note(self, *, is_reached: bool) -> None:
        """Take note of an attempt to reach the database, and send what is due."""
        now = self._clock()
        if is_reached:
            self._down_since = None
            self._inform(self._informed.copy(), NotificationKind.RESOLVED)
            return
        if self._down_since is None:
            self._down_since, self._begun = now, self._wall()
        if now - self._down_since >= AFTER_S:
            self._inform(self._find_receivers() - self._informed, NotificationKind.FIRING)

    def _find_receivers(self) -> set[str]:
        rule = self._policy.find_rule(source=SOURCE, name=NAME, severity=Severity.CRITICAL, labels={"host": self._host})
        return set(rule.steps[0].receivers) & self._policy.by_name.keys() if rule.steps else set()

    def _inform(self, names: set[str], kind: NotificationKind) -> None:
        """Send to each receiver, all at the same time. Who surely has not got it gets it in a later turn."""
        if not names:
            return
        known = self._policy.by_name
        receivers = [known[name] for name in sorted(names)]
        with ThreadPoolExecutor(len(receivers)) as pool:
            outcomes = pool.map(lambda receiver: self._send(self._compose(kind, receiver), receiver), receivers)
        for receiver, outcome in zip(receivers, outcomes, strict=True):
            if outcome.verdict is not DeliveryVerdict.SENT:
                log.warning("%s: %s: %s", receiver.name, outcome.verdict, outcome.detail)
            if outcome.verdict is DeliveryVerdict.UNSENT:
                continue
            if kind is NotificationKind.FIRING:
                self._informed.add(receiver.name)
            else:
                self._informed.discard(receiver.name)

    def _compose(self, kind: NotificationKind, receiver: Receiver) -> Message:
        begun, now = (datetime.fromtimestamp(one, UTC) for one in (self._begun, self._wall()))
        is_over = kind is NotificationKind.RESOLVED
        # All messages have the key, so that PagerDuty closes the incident that the first has opened, also if the agents
        # were restarted in between. Each message has a name of its own.
        key = f"outage.{self._host}"
        labels: Mapping[str, str] = {"host": self._host}
        entry = MessageEntry(
            notification=0,
            key=key,
            kind=kind,
            message=f"{key}.{int(self._begun)}.{kind}",
            attempts=1,
            alert=None,
            created_at=now,
            fingerprint=key,
            source=SOURCE,
            name=NAME,
            severity=Severity.CRITICAL,
            summary=f"the agents on {self._host} do not reach the metadata database"
            if not is_over
            else f"the agents on {self._host} reach the metadata database again",
            description=f"Since {begun:%Y-%m-%d %H:%M:%S} UTC. Until it is back, no other alert is sent."
            if not is_over
            else f"It was away since {begun:%Y-%m-%d %H:%M:%S} UTC.",
            labels=labels,
            runbook="",
            started_at=begun,
            raised_at=begun,
            resolved_at=now if is_over else None,
        )
        return compose((entry,), self._policy, receiver, now=self._wall(), is_repeated=False)
