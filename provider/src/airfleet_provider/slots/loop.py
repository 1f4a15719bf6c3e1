"""The loop of slots in the agents process: it reads what the tasks need, decides, and writes each worker's slots."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import Connection

from airfleet_provider.agent_loops.hosts_file import HostsFile
from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.slot_rules import (
    STALE_S,
    Demand,
    FixedPool,
    Peak,
    SlotDecision,
    SlotInputs,
    SlotRule,
    Stall,
    Waiting,
    WorkerReport,
    count_admissible,
    count_hosts,
    decide,
    find_absent_slots,
    rank_hosts,
)
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.text import one_line

log = logging.getLogger(__name__)

SQL = Statements(__package__, "store")

NAME = "slots"
EVERY_S = 1.0
# Without rules, there are only the rows of workers that came or went with a fleet.yaml.
IDLE_EVERY_S = 60.0
# Slots that do not change are confirmed so often, so that the workers keep them.
CONFIRM_EVERY_S = STALE_S / 6
PRUNE_EVERY_S = 3600.0
# What is to come is counted so often: it decides about hosts only, and they take longer.
AHEAD_EVERY_S = 10.0
# After a count that failed. It may have waited for its whole time, and slots wait with it.
AHEAD_AGAIN_S = 60.0
# So many decisions of each pool are kept, and none for longer than 30 days.
KEPT = 10_000

Row = dict[str, Any]


class SlotLoop:
    """Decides for each pool with a rule. It keeps only the peaks of the last minute, and stalls, in memory."""

    def __init__(
        self,
        rules: Sequence[SlotRule],
        clock: Callable[[], float] = time.monotonic,
        fixed: Sequence[FixedPool] = (),
    ) -> None:
        self._rules = tuple(rules)
        self._fixed = tuple(fixed)
        self._clock = clock
        self._peaks: dict[str, Peak] = {}
        self._stalls: defaultdict[tuple[str, str], Stall] = defaultdict(Stall)
        # How many hosts each pool needed by the last decision that was recorded.
        self._hosts: dict[str, int] = {}
        # What is to come in each pool, and from when on it is counted again.
        self._ahead: dict[str, tuple[float, Row]] = {}
        self._epoch: int | None = None
        self._pruned_at = self._turned_at = float("-inf")
        # Whether the rules are others than in the last turn.
        self._is_new = True

    def follow(self, rules: Sequence[SlotRule], fixed: Sequence[FixedPool]) -> None:
        """Take the present rules: a host may have joined or left."""
        now = (tuple(rules), tuple(fixed))
        self._is_new |= now != (self._rules, self._fixed)
        self._rules, self._fixed = now

    def once(self, context: Context) -> None:
        """Do one turn.

        Raises:
            psycopg.Error: The database does not answer. The workers keep their slots.
            LeaseLostError: Another process is active. Nothing was changed.
        """
        if context.epoch != self._epoch:
            self._epoch, self._peaks, self._hosts, self._ahead = context.epoch, {}, {}, {}
            self._is_new = True
            self._stalls.clear()
        now = self._clock()
        if not (self._rules or self._is_new) and now - self._turned_at < IDLE_EVERY_S:
            return
        ahead = {rule.pool: self._look_ahead(context, rule) for rule in self._rules}
        with context.read() as connection:
            rows = connection.execute(SQL["list_workers"]).fetchall()
            decided = [self._decide(rule, rows, ahead[rule.pool], *_read(connection, rule)) for rule in self._rules]
        known = {(rule.pool, host) for rule in self._rules for host in rule.hosts}
        known |= {(pool.pool, host) for pool in self._fixed for host in pool.hosts}
        writes = [one for rule, _, decision in decided for one in _list_writes(rule, rows, decision)]
        writes += [row for pool in self._fixed for row in _list_fixed(pool, rows)]
        strangers = {(row["pool"], row["host"]) for row in rows} - known
        # More hosts are made by what is recorded (ADR 102), also while all slots that there are have been given.
        hosts = {rule.pool: count_hosts(inputs) for rule, inputs, _ in decided}
        grown = {pool for pool, count in hosts.items() if self._hosts.get(pool) != count}
        if writes or strangers or grown or self._clock() - self._pruned_at > PRUNE_EVERY_S:
            self._write(context, decided, writes, known, grown)
            self._hosts = hosts
        self._is_new, self._turned_at = False, now

    def _decide(
        self,
        rule: SlotRule,
        rows: Sequence[Row],
        ahead: Row,
        demand: Demand,
        active: Sequence[Row],
        fixed: int | None,
        limits: tuple[int, int],
    ) -> tuple[SlotRule, SlotInputs, SlotDecision]:
        own = {row["host"]: row for row in rows if row["pool"] == rule.pool}
        workers = tuple(_read_worker(rule, own[host]) for host in rule.hosts if host in own)
        if rule.pack:
            ranks = _rank(rule, own, {one.host for one in workers if one.counts})
            workers = tuple(replace(one, rank=ranks[one.host] or 0) for one in workers)
        # A process that has just become the active one does not take slots away before it has seen the demand a while.
        now, present = self._clock(), sum(one.slots or 0 for one in workers if one.counts)
        peak = self._peaks.setdefault(rule.pool, Peak(rule.calm_s, now, present)).add(now, demand.tasks)
        is_stuck = rule.pack and self._is_stuck(rule, now, active, has_free=demand.running < present)
        demand = replace(demand, **ahead)
        inputs = SlotInputs(
            *limits, rule.per_host, demand, workers, peak=peak, fixed=fixed, pack=rule.pack, is_stuck=is_stuck
        )
        return rule, inputs, decide(inputs)

    def _look_ahead(self, context: Context, rule: SlotRule) -> Row:
        """Return the tasks that a pool will have when a host that is made now is there.

        In a transaction of its own: if the count fails, as on a database that is slow, nothing is foreseen for a
        while, and slots are still given to the tasks that are there.
        """
        if not rule.ahead_s:
            return {}
        due, found = self._ahead.get(rule.pool, (float("-inf"), {}))
        if self._clock() >= due:
            values, again_s = {"queues": list(rule.queues), "ahead_s": rule.ahead_s}, AHEAD_EVERY_S
            try:
                with context.read() as connection:
                    [found] = connection.execute(SQL["look_ahead"], values).fetchall()
            except psycopg.Error as error:
                log.warning("the pool %s: what is to come cannot be counted: %s", rule.pool, one_line(error))
                found, again_s = {}, AHEAD_AGAIN_S
            self._ahead[rule.pool] = (self._clock() + again_s, found)
        return found

    def _is_stuck(self, rule: SlotRule, now: float, active: Sequence[Row], *, has_free: bool) -> bool:
        """Return whether tasks of some queue are stuck, as when the packed worker does not serve a new queue yet."""
        rows, found = {row["queue"]: row for row in active}, False
        for queue in rule.queues:
            row = rows.get(queue, {"queued": 0, "queued_s": 0.0, "sent_at": 0.0, "begun_at": 0.0})
            found |= self._stalls[rule.pool, queue].add(
                now,
                waits_s=row["queued_s"] if row["queued"] else None,
                has_free=has_free,
                sent_at=row["sent_at"],
                begun_at=row["begun_at"],
            )
        return found

    def _write(
        self,
        context: Context,
        decided: Sequence[tuple[SlotRule, SlotInputs, SlotDecision]],
        writes: Sequence[Row],
        known: set[tuple[str, str]],
        grown: set[str],
    ) -> None:
        changed = {row["pool"] for row in writes if row.pop("is_change")} | grown
        with context.write() as connection:
            for row in writes:
                connection.execute(SQL["write_slots"], row)
            for rule, inputs, decision in decided:
                if rule.pool in changed:
                    _record(connection, rule, inputs, decision)
            pools, hosts = [pool for pool, _ in known], [host for _, host in known]
            connection.execute(SQL["remove_workers"], {"pools": pools, "hosts": hosts})
            if self._clock() - self._pruned_at > PRUNE_EVERY_S:
                connection.execute(SQL["prune"], {"kept": KEPT})
                self._pruned_at = self._clock()


def _list_writes(rule: SlotRule, rows: Sequence[Row], decision: SlotDecision) -> list[Row]:
    """Return the rows of a pool's workers that must be written, each with whether its slots change."""
    own = {row["host"]: row for row in rows if row["pool"] == rule.pool}
    # A person's number holds without an agent too, and otherwise a worker had better run all that it can.
    share = -(-decision.wanted // len(rule.hosts)) if decision.reason == "set by hand" else rule.per_host
    otherwise = min(rule.per_host, max(1, share))
    before = {host: own[host]["slots"] if host in own else None for host in rule.hosts}
    slots = {**find_absent_slots(before, decision.slots, pack=rule.pack), **decision.slots}
    ranks = _rank(rule, own, decision.slots)
    found = []
    for host in rule.hosts:
        values, row = {"slots": slots[host], "otherwise": otherwise, "rank": ranks[host]}, own.get(host)
        is_change = row is None or any(row[key] != value for key, value in values.items())
        if row is None or is_change or row["decided_s"] > CONFIRM_EVERY_S:
            found.append({"pool": rule.pool, "host": host, **values, "is_change": is_change})
    return found


def _list_fixed(pool: FixedPool, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of workers with all their slots that must be written. They stay as they are from then on."""
    own = {row["host"]: row for row in rows if row["pool"] == pool.pool}
    values = {"slots": None, "otherwise": pool.per_host, "rank": None}
    return [
        {"pool": pool.pool, "host": host, **values, "is_change": True}
        for host in pool.hosts
        if host not in own or any(own[host][name] != value for name, value in values.items())
    ]


def _read_worker(rule: SlotRule, row: Row) -> WorkerReport:
    return WorkerReport(row["host"], row["slots"], min(row["held"], rule.per_host), row["takes"], row["age_s"])


def _rank(rule: SlotRule, own: Mapping[str, Row], counting: Collection[str]) -> Mapping[str, int | None]:
    """Return the rank of each host of a rule; None for all if its tasks are not packed."""
    if not rule.pack:
        return dict.fromkeys(rule.hosts)
    return rank_hosts({host: own[host]["rank"] if host in own else None for host in rule.hosts}, counting)


def _read(connection: Connection[Row], rule: SlotRule) -> tuple[Demand, Sequence[Row], int | None, tuple[int, int]]:
    """Return the demand of a pool, its queues with tasks, the slots that a person has set, and the present limits."""
    queues = {"queues": list(rule.queues)}
    active = connection.execute(SQL["count_active"], queues).fetchall()
    rows = connection.execute(SQL["list_waiting"], queues).fetchall()
    admissible = _count_admissible(connection, rows) if rows else 0
    overrides: Mapping[str, int] = {row["pool"]: row["slots"] for row in connection.execute(SQL["list_overrides"])}
    [moment] = connection.execute(SQL["read_moment"]).fetchall()
    demand = Demand(
        sum(row["running"] for row in active),
        sum(row["queued"] for row in active),
        admissible,
        max((row["queued_s"] for row in active), default=0.0),
    )
    return demand, active, overrides.get(rule.pool), rule.find_limits(moment["now"])


def _count_admissible(connection: Connection[Row], rows: Sequence[Row]) -> int:
    rooms: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        rooms[row["dag_id"], row["run_id"]] = row["run_limit"]
    for row in connection.execute(SQL["count_active_of_runs"]):
        if (row["dag_id"], row["run_id"]) in rooms:
            rooms[row["dag_id"], row["run_id"]] -= row["tasks"]
    pools = {row["pool"]: row["free"] for row in connection.execute(SQL["list_slot_pools"])}
    held = [(row["dag_id"], row["task_id"]) for row in connection.execute(SQL["list_held"])]
    waiting = [
        Waiting(row["dag_id"], row["run_id"], row["task_id"], row["pool"], row["tasks"], row["each"]) for row in rows
    ]
    return count_admissible(waiting, rooms, pools, held)


def _record(connection: Connection[Row], rule: SlotRule, inputs: SlotInputs, decision: SlotDecision) -> None:
    values = {
        "pool": rule.pool,
        "inputs": json.dumps(inputs.to_json()),
        "wanted": decision.wanted,
        "slots": json.dumps(dict(decision.slots)),
        "reason": decision.reason,
    }
    connection.execute(SQL["add_decision"], values)
    log.info("the pool %s has %d slots: %s", rule.pool, sum(decision.slots.values()), decision.reason)


def make_loop(config: Mapping[str, Any]) -> Loop:
    """Return the loop that works by the rules of the agents' configuration, which change with the hosts."""
    hosts, loop = HostsFile(config), SlotLoop(())

    def once(context: Context) -> None:
        now = hosts.read(AgentsKey.SLOTS)
        rules = [SlotRule.from_json(one) for one in now.get("rules", ())]
        loop.follow(rules, [FixedPool.from_json(one) for one in now.get("fixed", ())])
        loop.once(context)

    return Loop(NAME, EVERY_S, once)
