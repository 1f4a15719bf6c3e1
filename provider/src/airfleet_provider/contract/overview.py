"""What a whole platform does now: slot pools, queues, hosts and the slowest tasks, from the metadata database.

`airfleet top`, the pages in Airflow's UI and the exporter share it. It reads what is unfinished, never the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.explanation.facts import PlatformFacts, PoolFacts, WorkerState
from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "overview")

# The version of the JSON form. It grows when a key changes its meaning or goes.
CONTRACT = 1
MOST_TASKS = 50


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task instance that runs."""

    dag: str
    run: str
    task: str
    map_index: int
    state: str
    try_number: int
    pool: str
    queue: str
    hostname: str | None
    since: datetime | None
    heartbeat: datetime | None


@dataclass(frozen=True, slots=True)
class HostLoad:
    """How many tasks run on a host, since when the oldest does, and when one of them has last reported."""

    host: str
    running: int
    oldest: datetime | None
    heartbeat: datetime | None


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """The task instances of a queue. `head` is when the oldest queued one was queued."""

    queue: str
    queued: int
    running: int
    head: datetime | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What a platform does at one moment. `holders` has the slots of each Dag by slot pool, the largest first.

    `succeeded` and `failed` count the attempts that ended within the last minute.
    """

    now: datetime
    platform: PlatformFacts
    states: Mapping[str, int]
    runs: Mapping[str, int]
    pools: tuple[PoolFacts, ...]
    queues: tuple[QueueLoad, ...]
    hosts: tuple[HostLoad, ...]
    tasks: tuple[RunningTask, ...]
    holders: Mapping[str, tuple[tuple[str, int], ...]]
    succeeded: int
    failed: int
    workers: tuple[WorkerState, ...] | None = None


def read(query: Query) -> Overview:
    """Return what the platform does now. `query` should run all statements in one snapshot."""
    platform = reading.read_platform(query)
    holders: dict[str, tuple[tuple[str, int], ...]] = {}
    for row in query(SQL["holders"], {}):
        holders[row["pool"]] = (*holders.get(row["pool"], ()), (row["dag"], row["slots"]))
    (rate,) = query(SQL["rate"], {})
    return Overview(
        now=query(SQL["now"], {})[0]["now"],
        platform=platform,
        states={row["state"]: row["count"] for row in query(SQL["states"], {})},
        runs={row["state"]: row["count"] for row in query(SQL["runs"], {})},
        pools=reading.read_pools(query),
        queues=_group_queues(platform),
        hosts=tuple(HostLoad(**row) for row in query(SQL["hosts"], {})),
        tasks=tuple(RunningTask(**row) for row in query(SQL["tasks"], {"limit": MOST_TASKS})),
        holders=holders,
        succeeded=rate["succeeded"],
        failed=rate["failed"],
    )


def _group_queues(platform: PlatformFacts) -> tuple[QueueLoad, ...]:
    loads = []
    for name in sorted({one.queue for one in platform.activity}):
        own = {one.state: one for one in platform.activity if one.queue == name}
        queued, running = own.get("queued"), own.get("running")
        loads.append(
            QueueLoad(
                name,
                queued.count if queued else 0,
                running.count if running else 0,
                queued.oldest if queued else None,
            )
        )
    return tuple(loads)


def to_json(overview: Overview) -> dict[str, Any]:
    """Return an overview as JSON. Ages are in seconds, and `contract` is the version of this form."""
    now = overview.now
    return {
        "contract": CONTRACT,
        "at": now.isoformat(),
        "states": dict(overview.states),
        "runs": dict(overview.runs),
        "last_minute": {"succeeded": overview.succeeded, "failed": overview.failed},
        "components": [
            {"type": job.job_type, "host": job.hostname, "heartbeat_age_s": round(job.age_s, 1)}
            for job in overview.platform.jobs
        ],
        "lease": _describe_lease(overview.platform),
        "slot_pools": [
            {
                "name": pool.name,
                "slots": pool.slots,
                "used": pool.used,
                "running": pool.running,
                "queued": pool.queued,
                "deferred": pool.deferred,
                "waiting": pool.waiting,
                "holders": [{"dag": dag, "slots": slots} for dag, slots in overview.holders.get(pool.name, ())],
            }
            for pool in overview.pools
        ],
        "queues": [
            {"name": one.queue, "queued": one.queued, "running": one.running, "head_age_s": _age(now, one.head)}
            for one in overview.queues
        ],
        "hosts": [
            {
                "name": one.host,
                "running": one.running,
                "oldest_age_s": _age(now, one.oldest),
                "heartbeat_age_s": _age(now, one.heartbeat),
            }
            for one in overview.hosts
        ],
        "workers": None if overview.workers is None else [_describe_worker(one) for one in overview.workers],
        "slowest": [_describe_task(one, now) for one in overview.tasks],
    }


def _describe_lease(platform: PlatformFacts) -> dict[str, Any] | None:
    lease = platform.lease
    if lease is None:
        return None
    seats = [{"name": name, "state": state} for name, state in lease.candidates]
    return {"holder": lease.holder, "renewed_age_s": round(lease.age_s, 1), "candidates": seats}


def _describe_worker(one: WorkerState) -> dict[str, Any]:
    return {
        "name": one.name,
        "state": one.state,
        "queues": list(one.queues),
        "slots": one.slots,
        "running": one.running,
        "why": one.why,
    }


def _describe_task(one: RunningTask, now: datetime) -> dict[str, Any]:
    return {
        "dag": one.dag,
        "run": one.run,
        "task": one.task,
        "map_index": one.map_index,
        "try_number": one.try_number,
        "slot_pool": one.pool,
        "queue": one.queue,
        "host": one.hostname,
        "age_s": _age(now, one.since),
        "heartbeat_age_s": _age(now, one.heartbeat),
    }


def _age(now: datetime, moment: datetime | None) -> float | None:
    return round((now - moment).total_seconds(), 1) if moment else None
