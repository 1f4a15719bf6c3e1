"""The loop of the agents process that sends the traces of ended runs. It works where the agents hold their lease."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Any, Protocol

import psycopg

from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.tracing_policy import TracingPolicy
from airfleet_provider.traces import otlp, run_spans, store
from airfleet_provider.traces.collector import Collector, ExportOutcome, ExportVerdict
from airfleet_provider.traces.run_spans import SentSpan, TracedRunRows
from airfleet_provider.traces.store import WaitingRun

log = logging.getLogger(__name__)

NAME = "traces"
EVERY_S = 5.0
# Without a collector, there is only the end of what is known from when there was one.
IDLE_EVERY_S = 60.0
# The agents restart a loop that works for two minutes, so a turn ends far before.
TURN_S = 30.0
# While the collector does not take spans, it is asked after so many seconds, then after twice as many, and so on.
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0
# So many spans make half a megabyte, and so many small runs share a request.
SPANS_PER_REQUEST, RUNS_PER_REQUEST, TRIES_PER_REQUEST = 1000, 20, 300
PRUNE_EVERY_S = 3600.0
READ_S = 10.0
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"


class UnreadableRunError(Exception):
    """A run of which no spans can be made. It must not keep the traces of other runs back."""

    def __init__(self, run: WaitingRun) -> None:
        super().__init__(run)
        self.run = run


class SpanReceiver(Protocol):
    """What takes a request, as `Collector` does."""

    def send(self, body: bytes) -> ExportOutcome:
        """Hand over a request, and return what is known then. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How many spans of these runs, by key and end, the collector has of a trace that does not fit into one turn."""

    runs: tuple[tuple[int, datetime], ...] = ()
    taken: int = 0
    rejected: int = 0


class TraceLoop:
    """Notes ended runs, and sends their traces. What it keeps in memory only saves work."""

    def __init__(
        self, policy: TracingPolicy, collector: SpanReceiver, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._collector = collector
        self._clock = clock
        self._progress = RunProgress()
        self._size = SPANS_PER_REQUEST
        self._failures = 0
        self._not_before = float("-inf")
        self._pruned_at = float("-inf")
        self._epoch: int | None = None
        self._said = ""
        self._unreadable: set[int] = set()

    def once(self, context: Context) -> None:
        """Do one turn. An error of the collector is none of the loop: it is tried again later.

        Raises:
            psycopg.Error: The database does not answer.
            LeaseLostError: Another process is active. What was sent may be sent again, as the same spans.
        """
        try:
            self._note(context)
        except psycopg.errors.UndefinedTable:
            # An agents process of a new version may start before the migration.
            return
        if self._clock() < self._not_before:
            return
        ends = self._clock() + TURN_S
        try:
            while self._clock() < ends and not context.stopping.is_set() and self._send_some(context, ends):
                pass
        except UnreadableRunError as error:
            if error.run.number not in self._unreadable:  # said once, and not at each of its attempts
                log.exception("no trace can be made of the run %s of %s", error.run.run, error.run.dag)
            self._unreadable.add(error.run.number)
            with context.write() as connection:
                store.fail(connection, [error.run])

    def _note(self, context: Context) -> None:
        """Write which runs wait for their end or for the collector."""
        if context.epoch is None or context.epoch != self._epoch:
            # A process without a collector may have been active meanwhile, and have removed the watermark.
            with context.write() as connection:
                store.begin(connection)
            self._epoch = context.epoch
        with context.read() as connection:
            connection.execute(SNAPSHOT)
            found = store.find_runs(connection)
        if found.unnoted or found.old or found.is_due:
            with context.write() as connection:
                given_up = store.note(connection, found)
            if given_up:
                log.warning("gave up the traces of %d runs: they could not be sent for too long", given_up)
        if self._clock() - self._pruned_at > PRUNE_EVERY_S:
            # Apart from what was noted, and seldom even if it fails: old rows keep no trace back.
            self._pruned_at = self._clock()
            with context.write(timeout_s=READ_S) as connection:
                store.prune(connection)

    def _send_some(self, context: Context, ends: float) -> bool:
        """Send the traces of some runs, and return whether there may be more to do in this turn."""
        with context.read(timeout_s=READ_S) as connection:
            connection.execute(SNAPSHOT)
            chosen = self._choose(connection)
        if not chosen:
            return False
        runs = [one for one, _ in chosen]
        done = RunProgress(tuple((one.number, one.ended) for one in runs))
        done = self._progress if self._progress.runs == done.runs else done
        spans = chain.from_iterable(self._list_spans(*one) for one in chosen)
        for some in _cut(islice(spans, done.taken, None), self._size):
            self._progress = done
            if self._clock() > ends or context.stopping.is_set():
                return False
            outcome = self._collector.send(otlp.encode(some, self._policy.service))
            if outcome.verdict is ExportVerdict.TOO_LARGE and len(some) > 1:
                self._size = len(some) // 2
                return True
            if outcome.verdict is not ExportVerdict.TAKEN:
                # One span that is too large must not make each request of others as small.
                self._size = SPANS_PER_REQUEST
                self._wait(outcome)
                with context.write() as connection:
                    store.fail(connection, runs)
                return False
            if outcome.rejected:
                log.warning("the collector rejected %d of %d spans: %s", outcome.rejected, len(some), outcome.detail)
            done = RunProgress(done.runs, done.taken + len(some), done.rejected + outcome.rejected)
            self._resume()
        totals = {
            store.RUNS_SENT: len(runs),
            store.SPANS_SENT: done.taken - done.rejected,
            store.SPANS_REJECTED: done.rejected,
        }
        with context.write() as connection:
            store.settle(connection, runs, totals)
        self._progress = RunProgress()
        return True

    def _choose(self, connection: psycopg.Connection[dict[str, Any]]) -> list[tuple[WaitingRun, TracedRunRows]]:
        """Return runs that fit into one request, or one that does not; and one that has failed before alone."""
        found: list[tuple[WaitingRun, TracedRunRows]] = []
        tries = 0
        for one in store.list_waiting(connection, RUNS_PER_REQUEST):
            if found and one.failures:
                break
            try:
                run = store.read_run(connection, one)
            except psycopg.errors.QueryCanceled as error:
                # A run with so many rows that they are not read in time. The next turn begins with another one.
                raise UnreadableRunError(one) from error
            except psycopg.Error:
                raise
            except Exception as error:
                raise UnreadableRunError(one) from error
            if run is None:
                continue
            found.append((one, run))
            tries += len(run.traced.tries)
            if one.failures or tries >= TRIES_PER_REQUEST:
                break
        return found

    def _list_spans(self, waiting: WaitingRun, rows: TracedRunRows) -> Iterator[SentSpan]:
        try:
            yield from run_spans.list_spans(rows, self._policy.base_url)
        except Exception as error:
            raise UnreadableRunError(waiting) from error

    def _wait(self, outcome: ExportOutcome) -> None:
        self._failures += 1
        wait_s = min(FIRST_WAIT_S * 2 ** min(self._failures - 1, 10), LONGEST_WAIT_S)
        self._not_before = self._clock() + max(wait_s, outcome.retry_after_s)
        if outcome.detail != self._said:  # the same error again and again is said once
            log.warning("the collector does not take spans: %s", outcome.detail)
        self._said = outcome.detail

    def _resume(self) -> None:
        if self._failures:
            log.info("the collector takes spans again after %d failures", self._failures)
        self._failures, self._said = 0, ""


class NoTraceLoop:
    """Without a collector, it removes what is known of runs. If there is one later, it gets the runs from then on."""

    def __init__(self) -> None:
        self._epoch: int | None = None

    def once(self, context: Context) -> None:
        """Do one turn. Raises what `TraceLoop.once` raises."""
        if context.epoch == self._epoch:
            return
        epoch = context.epoch
        try:
            with context.write() as connection:
                store.forget(connection)
        except psycopg.errors.UndefinedTable:
            return
        self._epoch = epoch


def _cut(spans: Iterable[SentSpan], size: int) -> Iterator[list[SentSpan]]:
    rest = iter(spans)
    while some := list(islice(rest, size)):
        yield some


def make_loop(config: Mapping[str, Any]) -> Loop:
    """Return the loop that works by the agents' configuration."""
    own = config.get(AgentsKey.TRACING)
    if not own:
        return Loop(NAME, IDLE_EVERY_S, NoTraceLoop().once)
    policy = TracingPolicy.from_json(own)
    return Loop(NAME, EVERY_S, TraceLoop(policy, Collector(policy)).once)
