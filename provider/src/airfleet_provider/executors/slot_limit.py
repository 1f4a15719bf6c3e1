"""Keeps a worker to the number of slots that the agents give it: it takes as many messages as it has slots (ADR 51).

The worker's processes stay as they are. Fewer slots mean that the worker takes no more messages until enough of its
tasks have ended, so fewer slots never end a task.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

from airfleet_provider.compat.calls import celery_worker, config
from airfleet_provider.contract.slot_rules import STALE_S
from airfleet_provider.network import signed_requests

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
# After a report that failed, the next one comes so much later.
RETRY_S = 2.0
# A worker whose state is older takes no messages: its main thread waits for a connection to the broker, for example.
BLOCKED_S = 10.0
# A worker without slots has all of them when no web host has answered for so long.
GIVEN_UP_S = STALE_S


@dataclass(frozen=True, slots=True)
class SlotReport:
    """What a worker tells: its tasks, the slots that it keeps to, and whether it takes tasks at all."""

    held: int
    in_force: int
    takes: bool
    # Whether a file on its host drains it.
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """The messages that each queue's consumer may hold, and the ids of those that the worker held before."""

    credits: Mapping[str, int]
    before: frozenset[str]


def find_credits(limit: int, held: Mapping[str, str], queues: Sequence[str], grant: Grant | None) -> dict[str, int]:
    """Return the credit with which each queue must be consumed anew; nothing if the present grant will do.

    `held` has the queue of each message that the worker holds, by id. A worker of one queue never takes more than
    `limit`. With more queues, each gets its share of what is free, rounded up, and a queue that has used its share gets
    another one. A worker that holds its limit, or more, may take one message from each queue, so that no queue is
    without a consumer.
    """
    free = limit - len(held)
    each = max(1, -(-free // len(queues)))
    if grant is None:
        return dict.fromkeys(queues, each)
    taken = Counter(queue for one, queue in held.items() if one not in grant.before)
    left = [max(0, grant.credits[queue] - taken[queue]) for queue in queues]
    is_too_much = sum(left) > max(free + len(queues) - 1, len(queues))
    is_too_little = free > 0 and (sum(left) < free or not all(left))
    return dict.fromkeys(queues, each) if is_too_much or is_too_little else {}


class SlotReports:
    """Reports the worker's state to a web host each second, in a thread, and keeps the last answer.

    Without an answer the last one holds, but a worker with no slots has all of them after `GIVEN_UP_S`: the workers
    that had the others may be away as well. A worker that has had no answer has all its slots, but one before it has
    asked.

    Whether the worker is drained on the Fleet pages is kept in the file `memory`, so that it holds from the start of
    the next process on, also where no web host answers.
    """

    def __init__(
        self,
        url: str,
        key: str,
        memory: Path | None = None,
        *,
        least_s: float = 0.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.slots: int | None = None
        # Workers with a lower rank are served first; None: all in turn.
        self.rank: int | None = None
        self.report: SlotReport | None = None
        self.has_asked = False
        self.is_drained = bool(memory and memory.exists())
        self._url = url
        self._key = key
        self._memory = memory
        self._least_s = least_s
        self._clock = clock
        self._monotonic = monotonic
        self._answered_at = monotonic()
        self._sleep = sleep
        self._is_failing = False
        self._seen: SlotReport | None = None
        self._seen_at = 0.0
        # What the clock of the web hosts is ahead of this one's.
        self._ahead_s = 0.0

    @classmethod
    def start(cls, url: str | None, memory: Path, *, least_s: float = 0.0) -> Self | None:
        """Return the reports to this URL, every `least_s` seconds or less often, with their thread at work.

        None without a URL.
        """
        if not url:
            return None
        reports = cls(url, config.read_secret_key(), memory, least_s=least_s)
        threading.Thread(target=reports.run, daemon=True, name="airfleet-slots").start()
        return reports

    def run(self) -> NoReturn:
        """Report for as long as the process lives."""
        while True:
            self._sleep(self.turn())

    def turn(self) -> float:
        """Report once, and return the seconds until the next report."""
        if self.report is None:
            return 0.1
        try:
            slots, rank, is_drained, again_s = self._ask(self._judge(self.report))
            self._note_drain(is_drained)
        except Exception as error:  # whatever a web host answers, the thread lives on
            self.has_asked = True
            if isinstance(error, urllib.error.HTTPError) and error.code == HTTPStatus.NOT_FOUND:
                self.slots = self.rank = None  # no rule is about this worker any more
            if not self._is_failing:
                all_of_them = "all of them" if self.slots is None else self.slots
                log.warning("Cannot learn the number of slots, so %s stays: %s", all_of_them, error)
            self._is_failing = True
            if self.slots == 0 and self._monotonic() - self._answered_at > GIVEN_UP_S:
                log.warning("No web host has answered for %.0f s, so this worker has all its slots", GIVEN_UP_S)
                self.slots = None
            return RETRY_S
        self._is_failing = False
        self._answered_at = self._monotonic()
        if slots != self.slots:
            log.info("This worker has %s slots from now on", slots)
        self.slots, self.rank = slots, rank
        self.has_asked = True
        return max(again_s, self._least_s)

    def _note_drain(self, is_drained: bool | None) -> None:
        """Keep whether the worker is drained. An answer of an older web host, which has None, changes nothing."""
        if is_drained is None:
            return
        if is_drained != self.is_drained:
            log.warning("This worker is %s on the Fleet pages", "drained" if is_drained else "resumed")
        self.is_drained = is_drained
        if self._memory is None or self._memory.exists() == is_drained:
            return
        with suppress(OSError):  # a full disk: the next answer tries again
            if is_drained:
                self._memory.parent.mkdir(mode=0o755, exist_ok=True)
                self._memory.touch()
            else:
                self._memory.unlink(missing_ok=True)

    def _judge(self, report: SlotReport) -> SlotReport:
        """Return the report, or one of a worker that takes nothing if the main thread has made no other for long."""
        if report is not self._seen:
            self._seen, self._seen_at = report, self._monotonic()
        is_blocked = self._monotonic() - self._seen_at > BLOCKED_S
        return replace(report, takes=False) if is_blocked else report

    def _ask(self, report: SlotReport) -> tuple[int, int | None, bool | None, float]:
        flags = f"takes={int(report.takes)}&marked={int(report.marked)}"
        query = f"held={report.held}&in_force={report.in_force}&{flags}"
        try:
            answer = self._send(query)
        except urllib.error.HTTPError as refusal:
            said = refusal.headers.get("Date") if refusal.code == HTTPStatus.FORBIDDEN else None
            if said is None:
                raise
            self._ahead_s = parsedate_to_datetime(said).timestamp() - self._clock()
            answer = self._send(query)
        slots, rank, again_s = answer["slots"], answer.get("rank"), float(answer["again_s"])
        is_drained = answer.get("drained")
        if not isinstance(slots, int) or slots < 0:
            raise ValueError(f"{slots!r} is no number of slots")
        if not isinstance(rank, int | None):
            raise TypeError(f"{rank!r} is no rank")
        if not isinstance(is_drained, bool | None):
            raise TypeError(f"{is_drained!r} is neither drained nor not")
        return slots, rank, is_drained, min(max(again_s, 0.2), 60.0)

    def _send(self, query: str) -> Any:  # noqa: ANN401 - JSON
        moment = int(self._clock() + self._ahead_s)
        signature = signed_requests.sign(self._key, describe(urlsplit(self._url).path, query), moment)
        headers = {signed_requests.TIME_HEADER: str(moment), signed_requests.SIGNATURE_HEADER: signature}
        request = urllib.request.Request(f"{self._url}?{query}", headers=headers)  # noqa: S310 - airfleet's own address
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read(10_000))


def describe(path: str, query: str) -> str:
    """Return what the signature of a report covers."""
    return f"worker {path}?{query}"


class SlotLimit:
    """Applies the number of slots to the consumer of a worker. Only the worker's main thread calls it."""

    def __init__(self, queues: Sequence[str], reports: SlotReports) -> None:
        self._queues = tuple(queues)
        self._reports = reports
        self._grant: Grant | None = None
        # From the first limit on, the consumers' credits are this object's, until the next connect to the broker.
        self._is_managed = False
        self._rank: int | None = None

    def forget(self) -> None:
        """Note that the consumers are new, with Celery's own limit: after each connect to the broker."""
        self._grant = None
        self._is_managed = False

    def apply(self, consumer: Any, slots: int, *, takes: bool, marked: bool = False) -> int:  # noqa: ANN401 - a Celery consumer
        """Keep the consumer to the slots of the last answer, and return them. `slots` are the processes it has.

        The worker consumes its queues if it `takes` tasks and has a slot.
        """
        # A worker that has just begun would take as many messages as it has processes, before it knows its slots.
        given = 1 if not self._reports.has_asked else slots if self._reports.slots is None else self._reports.slots
        limit = min(slots, given)
        held = celery_worker.list_held()
        self._is_managed = self._is_managed or limit < slots
        if self._reports.rank != self._rank:
            self._rank = self._reports.rank
            celery_worker.prioritise(consumer, self._queues, -(self._rank or 0))
            self._grant, self._is_managed = None, True
        is_open = takes and limit > 0
        # Until the grant below, a queue that is consumed again gives one message.
        credit = 1 if self._is_managed else None
        celery_worker.consume(consumer, self._queues if is_open else (), of=self._queues, credit=credit)
        if not is_open:
            self._grant = None
        elif self._is_managed and (found := find_credits(limit, held, self._queues, self._grant)):
            celery_worker.grant(consumer, found)
            self._grant = Grant(found, frozenset(held))
        self._reports.report = SlotReport(len(held), limit, takes, marked)
        return limit
