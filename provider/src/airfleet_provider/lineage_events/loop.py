"""The loop of the agents process that reads events of OpenLineage and passes them on to backends."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.openlineage_policy import LineageBackend, OpenLineagePolicy
from airfleet_provider.contract.text import one_line
from airfleet_provider.lineage_events import backends, facts, starts, store
from airfleet_provider.lineage_events.backends import LineageReceiver, RelayOutcome, RelayVerdict
from airfleet_provider.lineage_events.facts import EventFacts
from airfleet_provider.lineage_events.store import LineageEvent, ReadEvent, WaitingEvent

log = logging.getLogger(__name__)

NAME = "lineage"
EVERY_S = 5.0
# Where no task writes events, there are spans of tasks and events of an earlier time, which get old.
IDLE_EVERY_S = 60.0
# The agents restart a loop that works for two minutes, so a turn ends far before.
TURN_S = 30.0
EVENTS_PER_TURN, EVENTS_PER_WRITE = 200, 20
# Events that one turn sends to a backend. Those that wait for longer than a minute are more than a burst, so that they
# are sent beyond that: the first number keeps the work of a burst for the time after it.
DELIVERIES_PER_TURN, MOST_PER_TURN, PATIENT_S = 50, 500, 60.0
# While a backend takes nothing, it is asked after so many seconds, then after twice as many, and so on.
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0
PRUNE_EVERY_S = 3600.0
# Seconds of a turn for what is old. If there is more, the next turn goes on.
PRUNE_S = 5.0


class EventReceiver(Protocol):
    """What takes an event, as `LineageReceiver` does."""

    @property
    def backend(self) -> LineageBackend:
        """The backend that it leads to."""
        ...

    def send(self, body: str) -> RelayOutcome:
        """Hand over an event, and return what is known then. Never raises."""
        ...


@dataclass(slots=True)
class BackendPause:
    """How one backend does: failures in a row, until when it is left alone, and what it said last."""

    failures: int = 0
    not_before: float = float("-inf")
    said: str = ""


class LineageLoop:
    """Reads each event once, and sends it to each backend that wants it until that has confirmed it."""

    def __init__(
        self,
        policy: OpenLineagePolicy,
        receivers: Sequence[EventReceiver],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._receivers = receivers
        self._clock = clock
        self._pauses = {one.backend.name: BackendPause() for one in receivers}
        self._pruned_at = float("-inf")

    def once(self, context: Context) -> None:
        """Do one turn. An error of a backend is none of the loop: it is tried again later.

        Raises:
            psycopg.Error: The database does not answer.
            LeaseLostError: Another process is active. What was sent may be sent again, as the same events.
        """
        ends = self._clock() + TURN_S
        try:
            while self._read_some(context) and self._clock() < ends and not context.stopping.is_set():
                pass
        except psycopg.errors.UndefinedTable:
            # An agents process of a new version may start before the migration.
            return
        if self._clock() - self._pruned_at > PRUNE_EVERY_S:
            self._prune(context)
        for place, receiver in enumerate(self._receivers):
            # A slow backend leaves the others their share of the turn.
            share = (ends - self._clock()) / (len(self._receivers) - place)
            self._send_some(context, receiver, self._clock() + share)

    def _prune(self, context: Context) -> None:
        begun = self._clock()
        names = [one.backend.name for one in self._receivers]
        with context.write() as connection:
            given_up = store.prune(connection, names, self._policy.keep_days)
        if given_up:
            log.warning("gave up %d events of lineage: no backend took them for three days", given_up)
        while self._clock() - begun < PRUNE_S and not context.stopping.is_set():
            with context.write() as connection:
                if not store.prune_some(connection, self._policy.keep_days, self._policy.event_days):
                    self._pruned_at = begun
                    return

    def _read_some(self, context: Context) -> bool:
        with context.read() as connection:
            events = store.list_unread(connection, EVENTS_PER_TURN)
        for start in range(0, len(events), EVENTS_PER_WRITE):
            with context.write() as connection:
                read = [self._keep(connection, event) for event in events[start : start + EVENTS_PER_WRITE]]
                store.mark_read(connection, read)
        return len(events) == EVENTS_PER_TURN

    def _keep(self, connection: psycopg.Connection[store.Row], event: LineageEvent) -> ReadEvent:
        """Keep what an event says, and return who gets it."""
        found = _read(event.body) if event.dag else None
        if found is None:
            return ReadEvent(event.number, is_known=False)
        if found.datasets or found.columns:
            try:
                with connection.transaction():
                    store.keep_facts(connection, event, found)
            except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
                # Were it tried again, no later event would ever be read.
                log.warning("an event of %s.%s is left out: %s", event.dag, event.task, one_line(error))
                return ReadEvent(event.number, is_known=False)
        wanting = [one.backend.name for one in self._receivers if backends.wants(one.backend, event.dag, found)]
        return ReadEvent(event.number, is_known=True, backends=wanting)

    def _send_some(self, context: Context, receiver: EventReceiver, ends: float) -> None:
        name = receiver.backend.name
        if self._clock() < self._pauses[name].not_before:
            return
        with context.read() as connection:
            waiting = store.list_waiting(connection, name, MOST_PER_TURN)
        taken: list[int] = []
        for place, event in enumerate(waiting):
            is_enough = place >= DELIVERIES_PER_TURN and event.waited_s < PATIENT_S
            if is_enough or self._clock() > ends or context.stopping.is_set():
                break
            outcome = _send(receiver, event)
            if outcome.verdict is RelayVerdict.TAKEN:
                taken.append(event.number)
                if len(taken) == EVENTS_PER_WRITE:
                    self._settle(context, name, taken)
                continue
            self._settle(context, name, taken)
            if not self._bear(context, name, event, outcome):
                return
        self._settle(context, name, taken)

    def _settle(self, context: Context, name: str, taken: list[int]) -> None:
        """Write what a backend has taken, and empty the list. After a crash before that, it gets those again."""
        if not taken:
            return
        with context.write() as connection:
            store.settle(connection, name, taken)
        taken.clear()
        pause = self._pauses[name]
        if pause.failures:
            log.info("%s takes events of lineage again after %d failures", name, pause.failures)
        pause.failures, pause.said = 0, ""

    def _bear(self, context: Context, name: str, event: WaitingEvent, outcome: RelayOutcome) -> bool:
        """Write that a backend did not take an event, and return whether the next one may be sent at once."""
        pause = self._pauses[name]
        if outcome.detail != pause.said:  # the same error again and again is said once
            log.warning("%s does not take an event of lineage: %s", name, outcome.detail)
        pause.said = outcome.detail
        if outcome.verdict is RelayVerdict.REFUSED:
            with context.write() as connection:
                if store.refuse(connection, name, event.number):
                    log.warning("gave up an event of lineage that %s refused again and again", name)
            if event.failures == 0:
                return True
        pause.failures += 1
        wait_s = min(FIRST_WAIT_S * 2 ** min(pause.failures - 1, 10), LONGEST_WAIT_S)
        pause.not_before = self._clock() + max(wait_s, outcome.retry_after_s)
        return False


def _send(receiver: EventReceiver, event: WaitingEvent) -> RelayOutcome:
    """Send an event, and before it that of the start of its task, for a backend that makes something of it."""
    if backends.takes_starts(receiver.backend):
        start = starts.make_start(json.loads(event.body), event.started)
        if start and (outcome := receiver.send(json.dumps(start))).verdict is not RelayVerdict.TAKEN:
            return outcome
    return receiver.send(event.body)


def _read(body: str) -> EventFacts | None:
    try:
        return facts.read(json.loads(body))
    except (ValueError, RecursionError, AttributeError):
        return None


def make_loop(config: Mapping[str, Any]) -> Loop:
    """Return the loop that works by the agents' configuration. If no task writes events, it removes what is old."""
    own = config.get(AgentsKey.OPENLINEAGE)
    if own is None:
        return Loop(NAME, IDLE_EVERY_S, LineageLoop(OpenLineagePolicy(), ()).once)
    policy = OpenLineagePolicy.from_json(own)
    return Loop(NAME, EVERY_S, LineageLoop(policy, [LineageReceiver(one) for one in policy.backends]).once)
