"""The scheduler's wait between two loops: at most as long as Airflow's own, and shorter if there is work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.compat.calls.db_errors import choose_pause
from airfleet_provider.compat.patches import incremental_scheduling, ready_filter, scheduler_loop, short_path
from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Counter
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.scheduler_wakeup import triggers
from airfleet_provider.scheduler_wakeup.change_queue import ChangeQueue, Run
from airfleet_provider.scheduler_wakeup.short_path import ShortPath

# The most seconds until the next attempt to listen. Until then a loop begins once a second, so the first pauses after a
# short outage, such as a switch-over of the database, are shorter.
RETRY_S = 5.0
# Seconds between two writes of the counts to their files.
FLUSH_S = 2.0
LONGEST_REST_S = 0.05
# Seconds after a loop from which the next loop may come early, when it keeps no task waiting.
EARLY_S = 0.5
# If workers have more tasks than they can run, the scheduler can wait longer: a loop costs as much for one task as for
# many.
STORE_REST_S = 0.25


def choose_rest(worked_s: float, *, has_store: bool = False) -> float:
    """Return the least seconds to wait after a loop, so that steady notifications use at most half a core."""
    return STORE_REST_S if has_store else min(max(worked_s, 0.0), LONGEST_REST_S)


@dataclass(slots=True)
class Wakeup:
    """Waits until the time is over or the database sends a notification."""

    connect: Callable[[], Any]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    has_store: Callable[[], bool] = lambda: False
    # Queues tasks of Dag runs, and returns those runs that a loop must examine.
    step: Callable[[Collection[Run]], frozenset[Run]] | None = None
    changes: ChangeQueue = field(default_factory=ChangeQueue)
    connection: Any = None
    retry_at: float = 0.0
    lost_at: float | None = None
    woke_at: float = field(default=0.0)
    chosen: frozenset[Run] | tuple[()] | None = ()
    waits: Counter = field(default_factory=lambda: Counter(fallbacks.SCHEDULER_WAKE, None))
    looks: Counter = field(default_factory=lambda: Counter(fallbacks.SCHEDULER_LOOK, None))
    # Why there is no connection; empty before the first wait, which connects.
    reason: str = ""

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or sooner after a notification; without a connection, only sleep."""
        began = self.clock()
        if not self._is_listening(began):
            self.waits.fell_back(self.reason)
            self.sleep(seconds)
        else:
            try:
                self._wait_for_news(began, seconds)
                self.waits.took_fast()
            except Exception as error:
                self._hang_up(began, error)
                self.waits.fell_back(self.reason)
                self.sleep(min(seconds, self.retry_at - began))
        self.woke_at = self.clock()
        self.chosen = self.changes.choose(self.woke_at)

    def _wait_for_news(self, began: float, seconds: float) -> None:
        """Return when a loop has work, has rested and is worth its cost, or else after `seconds`.

        Meanwhile the short path takes each Dag run that a notification names, and a loop need not examine those that
        it settles. A loop that is due anyway comes right after such a step, while the tasks start that it queued.
        Steady notifications of such runs do not keep a loop from what the short path has left.
        """
        end = began + seconds
        rested_at = min(began + choose_rest(began - self.woke_at, has_store=self.has_store()), end)
        step_at = began
        tried: set[Run] = set()
        self._hear()
        while True:
            now = self.clock()
            fresh = [] if self.has_store() else self.changes.list_next(tried)
            if fresh and self.step is not None and now < end:
                if now < step_at:
                    self.sleep(min(step_at, end) - now)
                    self._hear()
                    continue
                left = self.step(fresh)
                tried |= left
                self.changes.forget(set(fresh) - left)
                stepped_at = self.clock()
                step_at = stepped_at + choose_rest(stepped_at - now)
                if (tried or self.changes.is_everything) and stepped_at >= rested_at:
                    return
                if not left and stepped_at - began >= EARLY_S:
                    self.changes.is_everything = True
                    return
            else:
                until = rested_at if self.changes.is_left else end
                if now >= until:
                    return
                if self.changes.is_left and (self.step is None or self.has_store()):
                    self.sleep(until - now)
                elif not wait_readable([self.connection], until - now):
                    return
            self._hear()

    def take(self) -> frozenset[Run] | None:
        """Return the Dag runs that the starting loop must examine, or None for all of them; never raise."""
        chosen, self.chosen = self.chosen, ()
        if self.connection is not None and isinstance(chosen, tuple):  # the last loop did not wait
            try:
                self._hear()
                chosen = self.changes.choose(self.clock())
            except Exception as error:
                self._hang_up(self.clock(), error)
        if self.connection is None or isinstance(chosen, tuple):
            if self.reason:
                self.looks.fell_back(self.reason)
            return None
        self.looks.took_fast()
        return chosen

    def _hear(self) -> None:
        self.connection.poll()
        self.changes.hear(notice.payload for notice in self.connection.notifies)
        self.connection.notifies.clear()

    def _is_listening(self, now: float) -> bool:
        if self.connection is None and now >= self.retry_at:
            try:
                self.connection = self.connect()
                install(self.connection)
                self.connection.cursor().execute(f"LISTEN {triggers.CHANNEL}")
                self.lost_at = None
            except Exception as error:
                self._hang_up(now, error)
        return self.connection is not None

    def _hang_up(self, now: float, error: Exception) -> None:
        first = str(error).strip().partition("\n")[0]
        self.reason = f"no notifications from the database: {first or type(error).__name__}"
        self.lost_at = now if self.lost_at is None else self.lost_at
        self.retry_at = now + choose_pause(now - self.lost_at, most_s=RETRY_S)
        self.changes.is_everything = True  # notifications may have been lost
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


def install(connection: Any) -> None:  # noqa: ANN401 - a psycopg2 connection, which has no types
    """Create the triggers if they are missing or of another revision; lock tables only then."""
    cursor = connection.cursor()
    cursor.execute(triggers.SQL["read_revision"])
    if cursor.fetchone() != (triggers.REVISION,):
        cursor.execute("SET lock_timeout = '5s'")
        cursor.execute(triggers.SQL["create"])


def start(has_store: Callable[[], bool] = lambda: False) -> None:
    """Make this process's scheduler wait for notifications; change nothing that this Airflow does in an unknown way.

    `has_store` returns whether the workers have more tasks than they can run, so that they do not wait for a loop.
    """
    waits, looked, rules, steps = (
        fallbacks.open_counter(name, os.environ, flush_every_s=FLUSH_S)
        for name in (
            *(fallbacks.SCHEDULER_WAKE, fallbacks.SCHEDULER_LOOK),
            *(fallbacks.SCHEDULER_RULES, fallbacks.SCHEDULER_STEP),
        )
    )
    wakeup = Wakeup(metadata_db.connect, has_store=has_store, waits=waits, looks=looked)
    if not scheduler_loop.replace_sleep(wakeup.wait, waits.fell_back):
        return  # nothing would tell the others what has changed
    incremental_scheduling.look_at_news(wakeup.take, wakeup.changes.forget, looked.fell_back)
    if ready_filter.pass_over_waiting(rules.fell_back):
        rules.took_fast()
    # Over the patch that chooses what a loop looks at.
    scheduler_loop.wait_after_work(lambda: wakeup.connection is not None, has_store)
    path = ShortPath(counts=steps)
    if short_path.serve_scheduler(path.meet, steps.fell_back):
        wakeup.step = path.step
