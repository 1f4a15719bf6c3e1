"""Counts what happened to tasks and Dag runs: each start and each end once, from the newest rows of two tables.

Airflow writes a row of `log` for each start and end of a try. The rows that are new since the last turn name the task
instances to look up, by their key. Dag runs are found by their ids when they begin, and are looked up when they no
longer are among the unfinished ones. No statement reads a column without an index.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import Connection

from airfleet_provider.agent_loops.lease import Row
from airfleet_provider.agent_loops.loop import Context
from airfleet_provider.contract.metrics import METRICS, OTHER
from airfleet_provider.contract.statements import Statements
from airfleet_provider.exporter import counters, saturation
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.breaker_waits import BreakerWaits
from airfleet_provider.exporter.counters import Counters
from airfleet_provider.exporter.limits import LabelLimits
from airfleet_provider.exporter.queues import Queues
from airfleet_provider.exporter.saturation import Saturation
from airfleet_provider.exporter.tail import Tail, compress, expand

SQL = Statements(__package__, "events")

NAME = "events"
# Rows of one transaction. A process that was away for long reads them in several.
MOST_ROWS = 2000
MOST_BATCHES = 20
# A run that was cleared starts again long after its schedule, and that is no delay.
ON_TIME_CLEARS = 0
FORGET_EVERY_S = 600.0
# A new Dag has its counter of failures within this time. Prometheus takes the first value of a counter for no growth.
BEGIN_EVERY_S = 60.0
FINISHED = frozenset({"success", "failed"})
# Counters without labels, which are there from the start.
TRIES = "airfleet_task_tries_total"
PROMISES, ENDED_PROMISES = "airfleet_sla_ended_total", ("met", "missed")
PLAIN = ("airfleet_task_clock_skew_total", "airfleet_task_events_lost_total")
AGAIN = frozenset({"scheduled", "queued", "restarting"})


@dataclass(slots=True)
class TablePosition:
    """How far tables were read. `runs` has the unfinished Dag runs, and whether the start of each was counted.

    `slas` is the evaluation of the SLA engine up to which ends of promises were counted, in ISO 8601.
    """

    log: Tail
    run: Tail
    runs: dict[int, bool] = field(default_factory=dict)
    slas: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "log": self.log.to_json(),
            "run": self.run.to_json(),
            "waiting": compress(one for one, is_started in self.runs.items() if not is_started),
            "started": compress(one for one, is_started in self.runs.items() if is_started),
            "slas": self.slas,
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> TablePosition:
        runs = dict.fromkeys(expand(value["waiting"]), False) | dict.fromkeys(expand(value["started"]), True)
        return cls(Tail.of_json(value["log"]), Tail.of_json(value["run"]), runs, value.get("slas", ""))


class EventsLoop:
    """The loop that counts. Only the active process runs it."""

    def __init__(
        self,
        board: Board,
        limits: LabelLimits,
        queues: Queues,
        waits: BreakerWaits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._queues = queues
        self._waits = waits
        self._clock = clock
        self._counters = Counters(limits)
        self._position: TablePosition | None = None
        self._epoch: int | None = None
        self._forgotten = clock()
        self._begun = float("-inf")
        # What is saturated now, and what was at the turn before: a task that has just started waited in between.
        self._saturated: tuple[Saturation, ...] = ()

    def once(self, context: Context) -> None:
        """Count what is new. After an error, everything is read from the database again."""
        if context.epoch != self._epoch:
            self._position = None
        with context.read() as connection:
            self._saturated = (*self._saturated[-1:], saturation.read(connection))
        for _ in range(MOST_BATCHES):
            try:
                has_more = self._count(context)
            except BaseException:
                self._position = None
                raise
            if not has_more:
                break

    def _count(self, context: Context) -> bool:
        epoch = context.epoch
        # What was shown must never be lost: Prometheus would take a counter that went back for one that began anew.
        with context.write() as connection:
            position = self._position or self._load(connection)
            has_more = self._read_log(connection, position.log)
            has_more |= self._read_runs(connection, position)
            self._read_promises(connection, position)
            if self._clock() - self._forgotten >= FORGET_EVERY_S:
                self._forget(connection)
            if self._clock() - self._begun >= BEGIN_EVERY_S:
                self._begin_failures(connection)
            self._counters.save(connection)
            rows = [{"name": NAME, "position": position.to_json()}]
            connection.execute(counters.SQL["write_positions"], {"rows": json.dumps(rows)})
        self._position, self._epoch = position, epoch
        self._board.publish_counters(NAME, self._counters.note_saved())
        return has_more

    def _load(self, connection: Connection[Row]) -> TablePosition:
        self._counters.load(connection)
        for name in PLAIN:
            self._counters.add(name, by=0.0)
        [newest] = connection.execute(SQL["newest"]).fetchall()
        kept = {row["name"]: row["position"] for row in connection.execute(counters.SQL["read_positions"])}
        if NAME not in kept:
            return self._begin(connection, newest)
        position = TablePosition.of_json(kept[NAME])
        # After a restore of an older backup, ids are given again.
        if newest["log"] < position.log.top:
            position.log = Tail(newest["log"])
        if newest["run"] < position.run.top:
            position.run = Tail(newest["run"])
        return position

    def _begin(self, connection: Connection[Row], newest: Row) -> TablePosition:
        """Begin at the end of the tables: what happened before the exporter ran for the first time is not counted."""
        most = METRICS["airfleet_dag_last_success_timestamp_seconds"].most - 1
        for row in connection.execute(SQL["last_successes"], {"most": most}):
            self._note_success(row)
        runs = {row["id"]: row["is_running"] for row in connection.execute(SQL["unfinished"])}
        return TablePosition(Tail(newest["log"]), Tail(newest["run"]), runs)

    def _read_log(self, connection: Connection[Row], tail: Tail) -> bool:
        fresh = self._read_ids(connection, SQL["log_ids"], tail)
        if fresh:
            rows = connection.execute(SQL["tries"], {"ids": fresh}).fetchall()
            started = {(row["dag_id"], row["task_id"]) for row in rows if row["event"] == "running"}
            held_until = self._waits.find_ends(connection, started)
            for row in rows:
                self._count_try(row, held_until.get((row["dag_id"], row["task_id"]), 0.0))
        return len(fresh) >= MOST_ROWS

    def _read_ids(self, connection: Connection[Row], statement: LiteralString, tail: Tail) -> list[int]:
        gaps = tail.list_gaps()
        words = {"firsts": [first for first, _ in gaps], "lasts": [last for _, last in gaps], "top": tail.top}
        fresh = [row["id"] for row in connection.execute(statement, {**words, "most": MOST_ROWS})]
        tail.note_read(fresh, self._clock())
        return fresh

    def _count_try(self, row: Row, held_until: float) -> None:
        """Count one row of the log. A breaker held the task back until `held_until`, in seconds since 1970."""
        count, event = self._counters, row["event"]
        is_again = row["is_present"] and row["state"] in AGAIN
        if event == "running":
            if row["is_lost"] or row["queued"] is None or (is_again and row["queued"] > row["at"]):
                count.add("airfleet_task_events_lost_total")
                return
            labels = self._label(row)
            # A task that is set to run by hand, or resumes, may never have been `scheduled`.
            ready = min(row["ready"], row["queued"]) if row["ready"] is not None else row["queued"]
            self._observe("airfleet_task_ready_seconds", row["queued"] - ready, labels)
            self._observe("airfleet_task_queue_seconds", row["at"] - row["queued"], labels)
            is_held_up = any(one.holds_up(row["dag_id"], row["run_id"], row["pool"]) for one in self._saturated)
            may_run = row["queued"] if is_held_up else min(max(ready, held_until), row["queued"])
            self._observe("airfleet_task_start_seconds", row["at"] - may_run, labels)
            return
        # Airflow logs a failure before it decides whether another try follows.
        is_retried = event == "failed" and (row["state"] == "up_for_retry" or not (row["is_present"] or row["is_lost"]))
        count.add(TRIES, row["dag_id"], "up_for_retry" if is_retried else event)
        if row["started"] is not None and row["ended"] is not None:
            self._observe("airfleet_task_run_seconds", row["ended"] - row["started"], self._label(row))

    def _label(self, row: Row) -> tuple[str, str]:
        return (self._queues.label(row["queue"]), row["pool"] or OTHER)

    def _observe(self, name: str, seconds: float, labels: tuple[str, ...]) -> None:
        if seconds < 0:
            self._counters.add("airfleet_task_clock_skew_total")
        self._counters.observe(name, max(0.0, seconds), *labels)

    def _read_runs(self, connection: Connection[Row], position: TablePosition) -> bool:
        fresh = self._read_ids(connection, SQL["run_ids"], position.run)
        known = position.runs
        known |= dict.fromkeys((one for one in fresh if one not in known), False)
        unfinished = {row["id"]: row["is_running"] for row in connection.execute(SQL["unfinished"])}
        # A run that was cleared is unfinished again.
        known |= {one: False for one in unfinished if one not in known}
        begun = [one for one, is_running in unfinished.items() if is_running and not known[one]]
        ended = [one for one in known if one not in unfinished]
        if begun or ended:
            asked = [*begun, *ended]
            found = {row["id"]: row for row in connection.execute(SQL["runs"], {"ids": asked})}
            for one in asked:
                self._count_run(known, one, found.get(one))
        return len(fresh) >= MOST_ROWS

    def _count_run(self, known: dict[int, bool], number: int, row: Row | None) -> None:
        if row is None:  # it was deleted
            del known[number]
            return
        if row["started"] is not None and not known[number]:
            known[number] = True
            if row["clear_number"] == ON_TIME_CLEARS and row["due"] is not None:
                delay = max(0.0, row["started"] - row["due"])
                self._counters.observe("airfleet_dag_run_delay_seconds", delay, row["run_type"])
                self._counters.put("airfleet_dag_last_run_delay_seconds", delay, row["dag_id"])
        if row["state"] in FINISHED:
            del known[number]
            self._counters.add("airfleet_dag_runs_total", row["dag_id"], row["state"])
            if row["started"] is not None and row["ended"] is not None:
                took = max(0.0, row["ended"] - row["started"])
                self._counters.observe("airfleet_dag_run_seconds", took, row["run_type"])
            if row["state"] == "success":
                self._note_success(row)

    def _note_success(self, row: Row) -> None:
        if row["ended"] is None:
            return
        self._counters.put("airfleet_dag_last_success_timestamp_seconds", row["ended"], row["dag_id"])
        if row["started"] is not None:
            self._counters.put("airfleet_dag_last_run_seconds", max(0.0, row["ended"] - row["started"]), row["dag_id"])

    def _read_promises(self, connection: Connection[Row], position: TablePosition) -> None:
        """Count the promises that ended. The engine writes an end and its evaluation in one transaction."""
        rows = connection.execute(SQL["sla_rules"]).fetchall()
        if not rows:
            return
        known = self._counters.values.get(PROMISES, {})
        for row in rows:
            for state in ENDED_PROMISES:
                if (row["rule"], row["kind"], state) not in known:
                    self._counters.add(PROMISES, row["rule"], row["kind"], state, by=0.0)
        evaluated_at = rows[0]["evaluated_at"]
        # After a restore of an older backup, the engine goes on from an earlier evaluation.
        if position.slas and position.slas < evaluated_at:
            words = {"after": position.slas, "until": evaluated_at}
            for row in connection.execute(SQL["sla_ends"], words):
                self._counters.add(PROMISES, row["rule"], row["kind"], row["state"], by=float(row["instances"]))
        position.slas = evaluated_at

    def _begin_failures(self, connection: Connection[Row]) -> None:
        """Let each Dag that may run have its counter of failures before it fails: the first failures count too."""
        known = self._counters.values.get(TRIES, {})
        for row in connection.execute(SQL["running_dags"]):
            if (row["dag_id"], "failed") not in known:
                self._counters.add(TRIES, row["dag_id"], "failed", by=0.0)
        self._begun = self._clock()

    def _forget(self, connection: Connection[Row]) -> None:
        existing = {row["dag_id"] for row in connection.execute(SQL["dags"])}
        self._counters.forget("dag_id", lambda dag_id: dag_id in existing or dag_id == OTHER)
        rules = {row["rule"] for row in connection.execute(SQL["sla_rules"])}
        self._counters.forget("rule", lambda rule: rule in rules or rule == OTHER)
        self._forgotten = self._clock()
