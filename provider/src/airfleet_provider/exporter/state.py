"""Reads what is so now: unfinished tasks and runs, slots, leases, heartbeats, releases. Finished rows are not read."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from airfleet_provider.agent_loops.lease import Row
from airfleet_provider.agent_loops.loop import Context
from airfleet_provider.contract import task_records
from airfleet_provider.contract.locks import AGENT_LOCK
from airfleet_provider.contract.statements import Statements
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.limits import LabelLimits, Labels
from airfleet_provider.exporter.queues import Queues

SQL = Statements(__package__, "state")

NAME = "state"
BREAKER_STATES = {"closed": 0.0, "half-open": 1.0, "open": 2.0}
# The states in which a task holds slots of its pool. A deferred task does only if the pool says so.
HOLDING = frozenset({"queued", "running", "restarting"})
BUSY = frozenset({"running", "restarting"})
# What is shown of each queue although no task is in the state.
SHOWN, DEFAULT_POOL = ("scheduled", "queued", "running"), "default_pool"
# A host that runs nothing is shown for so long.
IDLE_HOST_S = 3600.0
RECORD_OUTCOMES: Mapping[str, str] = {
    "read": task_records.READ,
    "sent": task_records.SENT,
    "given up": task_records.GIVEN_UP,
    "unknown": task_records.UNKNOWN,
}
OPEN_PROMISES = ("due", "at-risk", "late")
COMPONENTS: Mapping[str, str] = {
    "SchedulerJob": "scheduler",
    "TriggererJob": "triggerer",
    "DagProcessorJob": "dag-processor",
}

Values = defaultdict[str, dict[Labels, float]]


@dataclass(frozen=True, slots=True)
class Workers:
    """A pool of workers: the queues that it serves, or None for all, and how many tasks it can run at once."""

    pool: str
    queues: frozenset[str] | None
    slots: int

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Workers:
        queues = value.get("queues")
        return cls(str(value["pool"]), None if queues is None else frozenset(queues), int(value["slots"]))


class StateLoop:
    """The loop that reads. Only the active process runs it."""

    def __init__(
        self,
        board: Board,
        limits: LabelLimits,
        queues: Queues,
        workers: Sequence[Workers],
        *,
        hosts: Mapping[str, str] | None = None,
        backends: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hosts` has the name in fleet.yaml of each address: Airflow knows hosts by their address.

        `backends` are the names of those that get events of OpenLineage.
        """
        self._board = board
        self._limits = limits
        self._queues = queues
        self._workers = workers
        self._names = hosts or {}
        self._backends = backends
        self._clock = clock
        self._hosts: dict[str, float] = {}

    def learn(self, workers: Sequence[Workers], hosts: Mapping[str, str]) -> None:
        """Take the present workers and the names of hosts: a host may have joined or left."""
        self._workers, self._names = workers, hosts

    def once(self, context: Context) -> None:
        """Read everything and publish it."""
        with context.read() as connection:
            values: Values = defaultdict(dict)
            self._read_tasks(connection, values)
            _read_parts(connection, values, self._names)
            _read_slas(connection, values)
            _read_traces(connection, values)
            self._read_records(connection, values)
        self._board.publish(NAME, {name: self._limits.fold(name, series) for name, series in values.items()})

    def _read_tasks(self, connection: Connection[Row], values: Values) -> None:
        rows = connection.execute(SQL["tasks"]).fetchall()
        pools = {row["pool"]: row for row in connection.execute(SQL["pools"])}
        # Everything that may be exported is 0 where there is nothing: a series that vanishes says less.
        for queue in self._queues.names:
            values["airfleet_queue_depth"][queue,] = values["airfleet_queue_head_age_seconds"][queue,] = 0.0
            for state in SHOWN:
                values["airfleet_task_instances"][state, queue, DEFAULT_POOL] = 0.0
        for name, pool in pools.items():
            values["airfleet_pool_slots"][name,] = pool["slots"]
            for metric in ("slots_used", "waiting_tasks", "head_age_seconds"):
                values[f"airfleet_pool_{metric}"][name,] = 0.0
        for row in rows:
            self._add_tasks(values, row, self._queues.label(row["queue"]), pools.get(row["pool"]))
        for one in self._workers:
            values["airfleet_worker_slots"][one.pool,] = float(one.slots)
            values["airfleet_worker_slots_used"][one.pool,] = float(
                sum(row["tasks"] for row in rows if row["state"] in BUSY and _serves(one, row["queue"]))
            )
        self._read_hosts(connection, values["airfleet_host_running_tasks"])
        for row in connection.execute(SQL["runs"]):
            values["airfleet_dag_runs"][row["state"],] = float(row["runs"])

    def _read_hosts(self, connection: Connection[Row], series: dict[Labels, float]) -> None:
        now = self._clock()
        self._hosts = {host: seen for host, seen in self._hosts.items() if now - seen < IDLE_HOST_S}
        series.update({(host,): 0.0 for host in self._hosts})
        for row in connection.execute(SQL["hosts"]):
            host = self._names.get(row["host"], row["host"])
            series[host,] = float(row["tasks"])
            self._hosts[host] = now

    def _read_records(self, connection: Connection[Row], values: Values) -> None:
        waiting, oldest = values["airfleet_lineage_waiting"], values["airfleet_lineage_oldest_seconds"]
        for backend in self._backends:
            waiting[backend,] = oldest[backend,] = 0.0
        for row in connection.execute(SQL["lineage"]):
            waiting[row["backend"],], oldest[row["backend"],] = row["events"], max(0.0, row["oldest_s"])
        [unread] = connection.execute(SQL["lineage_unread"]).fetchall()
        values["airfleet_lineage_unread"][()] = unread["events"]
        totals = {row["kind"]: row["amount"] for row in connection.execute(SQL["record_totals"])}
        for outcome, kind in RECORD_OUTCOMES.items():
            values["airfleet_lineage_events_total"][outcome,] = totals.get(kind, 0.0)
        values["airfleet_records_cut_total"][()] = totals.get("cut", 0.0)
        for row in connection.execute(SQL["record_spools"]):
            host = self._names.get(row["host"], row["host"])
            values["airfleet_record_spool_files"][host,] = row["files"]
            values["airfleet_record_spool_oldest_seconds"][host,] = max(0.0, row["oldest_s"])

    def _add_tasks(self, values: Values, row: Row, queue: str, pool: Row | None) -> None:
        state, name = row["state"], row["pool"]
        _add(values["airfleet_task_instances"], (state, queue, name), row["tasks"])
        head = max(0.0, row["head_s"] or 0.0)
        if state == "queued":
            _add(values["airfleet_queue_depth"], (queue,), row["tasks"])
            _raise(values["airfleet_queue_head_age_seconds"], (queue,), head)
        if pool is None:
            return
        if state == "scheduled":
            _add(values["airfleet_pool_waiting_tasks"], (name,), row["tasks"])
            _raise(values["airfleet_pool_head_age_seconds"], (name,), head)
        if state in HOLDING or (state == "deferred" and pool["include_deferred"]):
            _add(values["airfleet_pool_slots_used"], (name,), row["slots"])


def _serves(workers: Workers, queue: str) -> bool:
    return workers.queues is None or queue in workers.queues


def _add(series: dict[Labels, float], labels: Labels, value: float) -> None:
    series[labels] = series.get(labels, 0.0) + float(value)


def _raise(series: dict[Labels, float], labels: Labels, value: float) -> None:
    series[labels] = max(series.get(labels, 0.0), value)


def _read_limits(connection: Connection[Row], values: Values) -> None:
    for row in connection.execute(SQL["limits"]):
        values["airfleet_limit_waiting_tasks"][row["name"],] = row["waiting"]
        values["airfleet_limit_active_tasks"][row["name"],] = row["active"]
        values["airfleet_limit_starts"][row["name"],] = row["starts"]
        for what, most in (("starts", row["most_starts"]), ("active_tasks", row["most_active"])):
            if most is not None:
                values[f"airfleet_limit_most_{what}"][row["name"],] = most


def _read_parts(connection: Connection[Row], values: Values, names: Mapping[str, str]) -> None:
    for row in connection.execute(SQL["leases"]):
        values["airfleet_lease_age_seconds"][row["name"],] = max(0.0, row["age_s"])
        values["airfleet_lease_epoch"][row["name"],] = row["epoch"]
        if row["holder"]:
            values["airfleet_lease_holder"][row["name"], row["holder"]] = 1.0
    for row in connection.execute(SQL["breakers"]):
        values["airfleet_breaker_state"][row["name"],] = BREAKER_STATES[row["state"]]
        values["airfleet_breaker_open_seconds"][row["name"],] = max(0.0, row["open_s"])
        values["airfleet_breaker_waiting_tasks"][row["name"],] = row["waiting"]
    _read_limits(connection, values)
    for row in connection.execute(SQL["seats"]):
        values["airfleet_scheduler_candidate_age_seconds"][row["name"], row["state"]] = max(0.0, row["age_s"])
    for row in connection.execute(SQL["heartbeats"]):
        if names and row["host"] not in names:
            # The host has left the fleet, and nobody ends the rows of what crashed there.
            continue
        component, age = COMPONENTS.get(row["job_type"], row["job_type"]), max(0.0, row["age_s"])
        host = names.get(row["host"], row["host"])
        values["airfleet_component_heartbeat_age_seconds"][component, host] = age
        if component == "scheduler":
            youngest = values["airfleet_scheduler_loop_age_seconds"]
            youngest[()] = min(youngest.get((), age), age)
    [releaser] = connection.execute(SQL["releaser"], {"lock": AGENT_LOCK}).fetchall()
    values["airfleet_component_up"]["releaser", ""] = float(releaser["is_up"])
    for row in connection.execute(SQL["releases"]):
        values["airfleet_release_info"][row["bundle"], row["live"]] = 1.0
        values["airfleet_release_promoted_timestamp_seconds"][row["bundle"],] = row["moved"]
    for state in ("requested", "parsing", "publishing", "watching"):
        values["airfleet_deployments_unfinished"][state,] = 0.0
    for row in connection.execute(SQL["deployments"]):
        values["airfleet_deployments_unfinished"][row["state"],] = float(row["deployments"])
    [failed] = connection.execute(SQL["failed_deployments"]).fetchall()
    values["airfleet_deployments_failed"][()] = float(failed["deployments"])
    values["airfleet_import_errors"][("",)] = 0.0
    for row in connection.execute(SQL["import_errors"]):
        values["airfleet_import_errors"][row["bundle"],] = float(row["files"])


def _read_slas(connection: Connection[Row], values: Values) -> None:
    series = values["airfleet_sla_instances"]
    for row in connection.execute(SQL["slas"]):
        for state in OPEN_PROMISES:
            series.setdefault((row["rule"], row["kind"], state), 0.0)
        if row["state"] is not None:
            series[row["rule"], row["kind"], row["state"]] = float(row["instances"])


def _read_traces(connection: Connection[Row], values: Values) -> None:
    """Read how traces do. Without a collector, no run waits, and the totals stay as they are."""
    [waiting] = connection.execute(SQL["traces"]).fetchall()
    values["airfleet_traces_waiting"][()] = float(waiting["runs"])
    values["airfleet_traces_oldest_seconds"][()] = max(0.0, waiting["oldest_s"])
    totals = {row["kind"]: float(row["amount"]) for row in connection.execute(SQL["trace_totals"])}
    for kind in ("runs sent", "runs given up", "spans sent", "spans rejected"):
        noun, _, outcome = kind.partition(" ")
        values[f"airfleet_traces_{noun}_total"][outcome,] = totals.get(kind, 0.0)
