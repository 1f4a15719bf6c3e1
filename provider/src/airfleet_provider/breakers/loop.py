"""The loop of breakers in the agents process: it chooses the probes, judges them, and moves the breakers (ADR 49)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from psycopg import Connection

from airfleet_provider.agent_loops.loop import Loop
from airfleet_provider.breakers import limit_ledger
from airfleet_provider.breakers.coverage import Coverage, Task
from airfleet_provider.breakers.reports import ACTOR
from airfleet_provider.breakers.rules import BreakerMove, BreakerStatus, ProbeOutcome, count_wanted, decide, judge_probe
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.breaker_rules import LAST_WAVE, BreakerRule, BreakerState
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
class BreakerProbe:
    """A task instance that a half-open breaker lets through, and what it has shown so far."""

    instance: str
    outcome: ProbeOutcome
    is_news: bool


@dataclass(slots=True)
class BreakerTurn:
    """What one turn of the loop finds and does for one breaker."""

    breaker: BreakerStatus
    outcomes: list[ProbeOutcome]
    # The probes that this turn has chosen.
    chosen: int = 0
    wanted: int = field(init=False)

    def __post_init__(self) -> None:
        self.wanted = count_wanted(self.breaker, self.outcomes)


class Transactions(Protocol):
    """What the loop asks its context for."""

    def read(self) -> AbstractContextManager[Connection[Row]]:
        """Return a transaction that cannot write."""

    def write(self) -> AbstractContextManager[Connection[Row]]:
        """Return a transaction that is committed only if nobody else may move breakers."""


class BreakerLoop:
    """Works on the breakers that are not closed. All it knows is in the database.

    If it `prunes`, it deletes what nothing needs any more, from time to time. If fleet.yaml has no limits any more
    (`ends_limits`), that includes the rows of the last ones: then the scheduler, which prunes them else, regards none.
    """

    def __init__(self, rules: Sequence[BreakerRule], *, prunes: bool = True, ends_limits: bool = False) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._coverage = Coverage(tuple(rules), time.monotonic)
        self._pruned_at = float("-inf") if prunes else float("inf")
        self._ends_limits = ends_limits

    def once(self, context: Transactions) -> None:
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
            with context.write() as connection:
                connection.execute(SQL["prune"], {"names": sorted(self._rules)})
                if self._ends_limits:
                    connection.execute(limit_ledger.SQL["prune"], {"names": []})
            self._pruned_at = time.monotonic()

    def _work(self, connection: Connection[Row], breakers: Sequence[BreakerStatus]) -> None:
        counts = {(row["dag_id"], row["task_id"]): row["count"] for row in connection.execute(SQL["list_waiting"])}
        known = [one for one in breakers if one.name in self._rules]

        def query(statement: Any, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:  # noqa: ANN401 - a literal
            return [tuple(row.values()) for row in connection.execute(statement, values)]

        waiting = self._coverage.find(list(counts), [one.name for one in known], query)
        for breaker in breakers:
            if breaker.name not in self._rules:
                _move(connection, breaker, BreakerMove(BreakerState.CLOSED, "fleet.yaml does not name it any more"))
        turns = []
        for breaker in known:
            tasks = waiting[breaker.name]
            held = sum(counts[one] for one in tasks)
            shown = json.dumps(sorted(tasks)[:MOST_TASKS])
            connection.execute(SQL["write_waiting"], {"name": breaker.name, "waiting": held, "tasks": shown})
            found = replace(breaker, idle_s=None) if held else breaker
            turns.append(BreakerTurn(found, _judge_probes(connection, breaker)))
        _choose_probes(connection, turns, waiting)
        for turn in turns:
            rule = self._rules[turn.breaker.name]
            if move := decide(turn.breaker, rule, turn.outcomes, is_more_waiting=bool(turn.chosen)):
                _move(connection, turn.breaker, move)


def _choose_probes(
    connection: Connection[Row], turns: Sequence[BreakerTurn], waiting: Mapping[str, Collection[Task]]
) -> None:
    """Choose task instances up to the waves of the half-open breakers, and add them to the outcomes of the turns.

    A task that several breakers keep starts only if all of them let it through. So its instance becomes a probe of all
    of them at once, or of none. While one of them is open, it becomes none.
    """
    half_open = {turn.breaker.name: turn for turn in turns if turn.breaker.state is BreakerState.HALF_OPEN}
    keepers: dict[Task, list[str]] = {}
    for turn in turns:
        for task in waiting[turn.breaker.name]:
            keepers.setdefault(task, []).append(turn.breaker.name)
    able = {name for name, turn in half_open.items() if turn.wanted}
    tasks = sorted(task for task, names in keepers.items() if able.issuperset(names))
    if not tasks:
        return
    sets = sorted({tuple(keepers[task]) for task in tasks})
    values = {
        "dags": [dag for dag, _ in tasks],
        "tasks": [task for _, task in tasks],
        "keepers": [sets.index(tuple(keepers[task])) for task in tasks],
        "names": sorted(half_open),
        "most": LAST_WAVE,
    }
    for row in connection.execute(SQL["list_candidates"], values).fetchall():
        its_turns = [half_open[name] for name in sets[row["keepers"]]]
        if not all(turn.wanted for turn in its_turns):
            continue
        for turn in its_turns:
            where = {"name": turn.breaker.name, "generation": turn.breaker.generation, "instance": row["instance"]}
            connection.execute(SQL["add_probe"], where)
            turn.outcomes.append(ProbeOutcome.CHOSEN)
            turn.chosen += 1
            turn.wanted -= 1


def _judge_probes(connection: Connection[Row], breaker: BreakerStatus) -> list[ProbeOutcome]:
    """Return what the probes of a half-open breaker have shown so far, and record what is new."""
    probes = _read_probes(connection, breaker) if breaker.state is BreakerState.HALF_OPEN else []
    for probe in probes:
        if probe.is_news:
            where = {"name": breaker.name, "generation": breaker.generation, "instance": probe.instance}
            connection.execute(SQL["judge_probe"], {**where, "outcome": probe.outcome})
    return [one.outcome for one in probes]


def _read_breaker(row: Row) -> BreakerStatus:
    return BreakerStatus(
        name=row["name"],
        state=BreakerState(row["state"]),
        generation=row["generation"],
        wave=row["wave"],
        failed_probes=row["failed_probes"],
        probe_in_s=row["probe_in_s"],
        idle_s=row["idle_s"],
    )


def _read_probes(connection: Connection[Row], breaker: BreakerStatus) -> list[BreakerProbe]:
    rows = connection.execute(SQL["list_probes"], {"name": breaker.name, "generation": breaker.generation})
    found = []
    for row in rows:
        before = ProbeOutcome(row["outcome"])
        now = judge_probe(row["state"], row["age_s"], before)
        found.append(BreakerProbe(row["instance"], now, now is not before))
    return found


def _move(connection: Connection[Row], breaker: BreakerStatus, move: BreakerMove) -> None:
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
    rules = [BreakerRule.from_json(one) for one in config.get(AgentsKey.BREAKERS, {}).get("rules", ())]
    has_limits = bool(config.get(AgentsKey.LIMITS, {}).get("limits"))
    return Loop(NAME, EVERY_S if rules else IDLE_EVERY_S, BreakerLoop(rules, ends_limits=not has_limits).once)
