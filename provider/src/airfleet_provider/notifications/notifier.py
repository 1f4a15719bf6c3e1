"""The notifier: a loop of the agents process that decides who is notified, and sends the messages.

Each receiver has one message on its way at a time, in a thread of its own, so a slow receiver delays no other.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import Connection

from airfleet_provider.contract.alert_schema import Severity, raise_alert, resolve_alert
from airfleet_provider.contract.notification_policy import NotificationPolicy, Receiver
from airfleet_provider.notifications import channels, expiry
from airfleet_provider.notifications.channels import DeliveryOutcome, DeliveryVerdict
from airfleet_provider.notifications.messages import Message, compose
from airfleet_provider.notifications.outbox import UNDELIVERED, Outbox

log = logging.getLogger(__name__)

EVERY_S = 2.0
# After a failure, a receiver rests for up to so many seconds, and after each further failure for up to twice as long.
FIRST_REST_S = 2.0
LONGEST_REST_S = 60.0
# If a receiver has not got a notification for so long, that is an alert itself.
OVERDUE_S = 600.0
CARE_EVERY_S = 60.0
# When the process stops, messages on their way have so long to end. The process waits longer than a turn and this.
FINISH_S = 2.5

Row = dict[str, Any]
Send = Callable[[Message, Receiver], DeliveryOutcome]


class NotifierDatabase(Protocol):
    """What the notifier needs of a loop's context."""

    @property
    def epoch(self) -> int | None:
        """Return the number of the term if this process is the active one, or None."""

    def write(self) -> AbstractContextManager[Connection[Row]]:
        """Return a transaction that only the active process can commit."""

    def share(self) -> AbstractContextManager[Connection[Row]]:
        """Return a transaction that each process can commit."""


@dataclass(frozen=True, slots=True)
class _Sending:
    """A message on its way: the ids of its notifications, and its outcome when there is one."""

    ids: tuple[int, ...]
    outcome: Future[DeliveryOutcome]


@dataclass(slots=True)
class _Rest:
    """How often a receiver failed in succession, and until when nothing is sent to it."""

    failures: int = 0
    until: float = 0.0


class Notifier:
    """The notifier of one process. `clock` is monotonic; `wall` is in seconds since 1970."""

    def __init__(
        self,
        policy: NotificationPolicy,
        *,
        send: Send = channels.send,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        random_: random.Random | None = None,
    ) -> None:
        self._policy = policy
        self._send = send
        self._clock = clock
        self._wall = wall
        self._random = random_ or random.Random()  # noqa: S311 - only spreads attempts in time
        self._sender = secrets.token_hex(8)
        self._threads = ThreadPoolExecutor(max(1, len(policy.receivers)), thread_name_prefix="send")
        self._sending: dict[str, _Sending] = {}
        self._rests = {one.name: _Rest() for one in policy.receivers}
        self._cared_at: float | None = None

    def once(self, database: NotifierDatabase) -> None:
        """Note what was sent, and, on the active process, write what is due and send it.

        May end anywhere: the next turn, or another process, goes on from the rows.
        """
        self._note_outcomes(database)
        if database.epoch is None:
            return
        with database.write() as connection:
            outbox = Outbox(connection, self._sender)
            outbox.write_due(self._policy)
            waiting = outbox.list_waiting()
        self._begin_all(database, waiting)
        # A receiver that takes one notification at a time gets the next as soon as it has the one before.
        end = self._clock() + EVERY_S
        while self._sending and self._wait_for_one(end - self._clock()):
            self._note_outcomes(database)
            with database.write() as connection:
                waiting = Outbox(connection, self._sender).list_waiting()
            self._begin_all(database, waiting)
        if self._cared_at is None or self._clock() - self._cared_at >= CARE_EVERY_S:
            self._care(database)
            self._cared_at = self._clock()

    def finish(self, database: NotifierDatabase) -> None:
        """Note what becomes of the messages on their way. The next process would send them again after a while."""
        if self._sending:
            futures.wait([one.outcome for one in self._sending.values()], FINISH_S)
            self._note_outcomes(database)

    def is_sending(self) -> bool:
        """Return whether a message is on its way, or its outcome is not noted yet."""
        return bool(self._sending)

    def _wait_for_one(self, seconds: float) -> bool:
        """Wait until a message has an outcome; return whether one has within the time."""
        outcomes = [one.outcome for one in self._sending.values()]
        return seconds > 0 and bool(futures.wait(outcomes, seconds, futures.FIRST_COMPLETED).done)

    def _begin_all(self, database: NotifierDatabase, waiting: Iterable[str]) -> None:
        for name in waiting:
            receiver = self._policy.by_name.get(name)
            if receiver and name not in self._sending and self._clock() >= self._rests[name].until:
                self._begin(database, receiver)

    def _begin(self, database: NotifierDatabase, receiver: Receiver) -> None:
        """Claim the next message for a receiver, and send it once the claim is committed."""
        with database.write() as connection:
            outbox = Outbox(connection, self._sender)
            claim = outbox.claim(receiver.name, channels.find_limit(receiver))
            entries = outbox.read_content(claim.ids) if claim.ids else ()
        if not entries:
            return
        message = compose(entries, self._policy, receiver, now=self._wall(), is_repeated=claim.is_repeated)
        self._sending[receiver.name] = _Sending(claim.ids, self._threads.submit(self._send, message, receiver))

    def _note_outcomes(self, database: NotifierDatabase) -> None:
        """Write down the outcomes. Each stays in memory until that is committed, so an outage repeats no message."""
        for name, sending in list(self._sending.items()):
            if not sending.outcome.done():
                continue
            error = sending.outcome.exception()
            outcome = DeliveryOutcome(DeliveryVerdict.UNKNOWN, repr(error)) if error else sending.outcome.result()
            rest_s = self._find_rest(name, outcome)
            with database.share() as connection:
                self._note(Outbox(connection, self._sender), sending.ids, outcome, rest_s)
            del self._sending[name]
            self._rest(name, outcome, rest_s)

    def _note(self, outbox: Outbox, ids: tuple[int, ...], outcome: DeliveryOutcome, rest_s: float) -> None:
        match outcome.verdict:
            case DeliveryVerdict.SENT:
                outbox.note_sent(ids, outcome.detail)
            case DeliveryVerdict.UNKNOWN:
                outbox.note_unknown(ids, outcome.detail)
            case DeliveryVerdict.UNSENT:
                outbox.note_unsent(ids, outcome.detail)
            case DeliveryVerdict.REFUSED:
                outbox.note_refused(ids, outcome.detail, rest_s)

    def _find_rest(self, name: str, outcome: DeliveryOutcome) -> float:
        if outcome.verdict is DeliveryVerdict.SENT:
            return 0.0
        longest = min(FIRST_REST_S * float(2 ** min(self._rests[name].failures, 10)), LONGEST_REST_S)
        return max(outcome.retry_after_s, longest * self._random.uniform(0.5, 1.0))

    def _rest(self, name: str, outcome: DeliveryOutcome, rest_s: float) -> None:
        rest = self._rests[name]
        if outcome.verdict is DeliveryVerdict.SENT:
            if rest.failures:
                log.info("%s: receives again after %d failures", name, rest.failures)
            rest.failures, rest.until = 0, 0.0
            return
        if not rest.failures:
            log.warning("%s: %s: %s", name, outcome.verdict, outcome.detail)
        rest.failures += 1
        # A message that was refused rests itself; others may follow at once.
        rest.until = self._clock() + rest_s if outcome.verdict is not DeliveryVerdict.REFUSED else 0.0

    def _care(self, database: NotifierDatabase) -> None:
        """Raise an alert for each receiver that gets nothing, end what nobody asserts, and delete what is old."""
        with database.write() as connection:
            outbox = Outbox(connection, self._sender)
            outbox.give_up_others([one.name for one in self._policy.receivers])
            overdue = {one.receiver: one for one in outbox.list_overdue(OVERDUE_S)}
            for name in self._rests:
                fingerprint = f"notifications:{name}"
                if one := overdue.get(name):
                    raise_alert(
                        connection,
                        fingerprint=fingerprint,
                        source="airfleet",
                        name=UNDELIVERED,
                        severity=Severity.CRITICAL,
                        summary=f"{name} has not received a notification for {one.age_s / 60:.0f} minutes",
                        description=f"The last error: {one.error}" if one.error else "",
                        labels={"receiver": name},
                    )
                else:
                    resolve_alert(connection, fingerprint)
            expiry.end_unasserted(connection, is_watched=bool(self._policy.watchdog_s))
            outbox.prune()
