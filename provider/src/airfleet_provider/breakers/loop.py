"""The loop of breakers in the agents process: it chooses the probes, judges them, and moves the breakers (ADR 49)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.breakers.coverage import Coverage, Task
from airfleet_provider.breakers.reports import ACTOR
from airfleet_provider.breakers.rules import Breaker, Move, Outcome, count_wanted, decide, judge_probe
from airfleet_provider.contract.agents_config import Key
from airfleet_provider.contract.breaker_rules import BreakerRule, State
from airfleet_provider.contract.statements import Statements

log = logging.getLogger(__name__)

SQL = Statements(__package__, "store")

NAME = "breakers"
EVERY_S = 1.0
# Without rules, there is only the end of the breakers of rules that were removed.
IDLE_EVERY_S = 60.0
PRUNE_EVERY_S = 600.0
# Explanations find the breaker of so many tasks.
MOST_TASKS = 1000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """A task instance that a half-open breaker lets through, and what it has shown so far."""

    instance: str
    outcome: Outcome
    is_news: bool


class BreakerLoop:
    """Works on the breakers that are not closed. All it knows is in the database."""

    def __init__(self, rules: Sequence[BreakerRule]) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._coverage = Coverage(tuple(rules), time.monotonic)
        self._pruned_at = float("-inf")

    def once(self, context: Context) -> None:
        """Do one turn.

        Raises:
            psycopg.Error: The database does not answer.
            LeaseLostError: Another process is active. Nothing was changed.
        """
        with context.read() as connection:
            breakers = [_read_breaker(row) for row in connection.execute(SQL["list_open"])]
        if breakers:
            with context.write() as connection:
                self._work(connection, breakers)
        if time.monotonic() - self._pruned_at > PRUNE_EVERY_S:
            with context.write(timeout_s=30.0) as connection:
                connection.execute(SQL["prune"])
            self._pruned_at = time.monotonic()

    def _work(self, connection: Connection[Row], breakers: Sequence[Breaker]) -> None:
        counts = {(row["dag_id"], row["task_id"]): row["count"] for row in connection.execute(SQL["list_waiting"])}
        known = [one for one in breakers if one.name in self._rules]

        def query(statement: Any, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:  # noqa: ANN401 - a literal
            return [tuple(row.values()) for row in connection.execute(statement, values)]

        waiting = self._coverage.find(list(counts), [one.name for one in known], query)
        for breaker in breakers:
            if breaker.name not in self._rules:
                _move(connection, breaker, Move(State.CLOSED, "fleet.yaml does not name it any more"))
                continue
            tasks = waiting[breaker.name]
            held = sum(counts[one] for one in tasks)
            shown = json.dumps(sorted(tasks)[:MOST_TASKS])
            connection.execute(SQL["write_waiting"], {"name": breaker.name, "waiting": held, "tasks": shown})
            kept_by_others = {
                task
                for one in known
                if one.name != breaker.name and one.state is State.OPEN
                for task in waiting[one.name]
            }
            self._step(connection, breaker, sorted(tasks - kept_by_others))

    def _step(self, connection: Connection[Row], breaker: Breaker, tasks: Sequence[Task]) -> None:
        probes = _read_probes(connection, breaker) if breaker.state is State.HALF_OPEN else []
        for probe in probes:
            if probe.is_news:
                where = {"name": breaker.name, "generation": breaker.generation, "instance": probe.instance}
                connection.execute(SQL["judge_probe"], {**where, "outcome": probe.outcome})
        outcomes = [one.outcome for one in probes]
        chosen = 0
        if wanted := count_wanted(breaker, outcomes):
            chosen = connection.execute(
                SQL["choose_probes"],
                {
                    "name": breaker.name,
                    "generation": breaker.generation,
                    "dags": [dag for dag, _ in tasks],
                    "tasks": [task for _, task in tasks],
                    "limit": wanted,
                },
            ).rowcount
        outcomes += [Outcome.CHOSEN] * chosen
        if move := decide(breaker, self._rules[breaker.name], outcomes, is_more_waiting=bool(chosen)):
            _move(connection, breaker, move)


def _read_breaker(row: Row) -> Breaker:
    return Breaker(
        name=row["name"],
        state=State(row["state"]),
        generation=row["generation"],
        wave=row["wave"],
        failed_probes=row["failed_probes"],
        probe_in_s=row["probe_in_s"],
    )


def _read_probes(connection: Connection[Row], breaker: Breaker) -> list[Probe]:
    rows = connection.execute(SQL["list_probes"], {"name": breaker.name, "generation": breaker.generation})
    found = []
    for row in rows:
        before = Outcome(row["outcome"])
        now = judge_probe(row["state"], row["age_s"], before)
        found.append(Probe(row["instance"], now, now is not before))
    return found


def _move(connection: Connection[Row], breaker: Breaker, move: Move) -> None:
    values = {
        "name": breaker.name,
        "generation": breaker.generation,
        "state": move.state,
        "wave": move.wave,
        "failed_probes": move.failed_probes,
        "probe_in_s": move.probe_in_s,
        "reason": move.reason,
        "actor": ACTOR,
    }
    if connection.execute(SQL["move"], values).rowcount:
        connection.execute(SQL["wake"])
        wave = f", wave {move.wave}" if move.wave else ""
        log.info("the breaker %s is %s%s: %s", breaker.name, move.state, wave, move.reason)


def make_loop(config: Mapping[str, Any]) -> Loop:
    """Return the loop that works by the rules of the agents' configuration."""
    rules = [BreakerRule.from_json(one) for one in config.get(Key.BREAKERS, {}).get("rules", ())]
    return Loop(NAME, EVERY_S if rules else IDLE_EVERY_S, BreakerLoop(rules).once)
