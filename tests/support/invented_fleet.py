"""A platform that does not exist, as the Fleet pages read it: with work, with faults, empty, or very large."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airfleet_provider.console.readings import AlertBoard, BreakerBoard, PlatformActivity, PromiseBoard, ReleaseBoard
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract.alert_list import Alert, Silence
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource, Row
from airfleet_provider.contract.breaker_list import Breaker, BreakerEvent
from airfleet_provider.contract.breaker_rules import BreakerState
from airfleet_provider.contract.explanation.facts import (
    ImportFailure,
    JobFacts,
    PlatformFacts,
    PoolFacts,
    SchedulerLease,
)
from airfleet_provider.contract.limit_list import LimitStatus
from airfleet_provider.contract.notification_policy import Matcher
from airfleet_provider.contract.overview import HostLoad, Overview, QueueLoad, RunningTask
from airfleet_provider.contract.release_list import Deployment, Release
from airfleet_provider.contract.sla_rules import PromiseKind, PromiseState, SlaRule
from airfleet_provider.contract.slot_list import PageDrain, ScalingPool, ScalingWorker, SlotOverride
from airfleet_provider.slas import reports
from airfleet_provider.slas.instances import Instance, InstanceKey
from airfleet_provider.slas.instances import PromiseSubject as Promised
from airfleet_provider.slas.reports import EngineState, Total

ADMIN = Rights("admin", frozenset({"sales", "stock"}), reads_all=True, sees_platform=True, operates=True, audits=True)
VIEWER = replace(ADMIN, name="viewer", operates=False, audits=False)
# May read one Dag, and nothing about the platform.
TEAM = Rights("team", frozenset({"sales"}), reads_all=False, sees_platform=False, operates=False)
# May see the platform, but not every Dag.
WATCHER = replace(TEAM, name="watcher", sees_platform=True)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def make_platform(*, age_s: float = 2.0) -> PlatformFacts:
    names = (
        ("SchedulerJob", "sched1"),
        ("SchedulerJob", "sched2"),
        ("TriggererJob", "sched1"),
        ("DagProcessorJob", "sched1"),
    )
    jobs = tuple(
        JobFacts(number, kind, host, age_s + number, ago(age_s + number)) for number, (kind, host) in enumerate(names)
    )
    lease = SchedulerLease("sched1", 0.8, ago(0.8), (("sched1", "active"), ("sched2", "standby")))
    return PlatformFacts(jobs=jobs, lease=lease)


def make_activity() -> PlatformActivity:
    """What runs on a platform that works, with a full slot pool and a Dag file that does not load."""
    pools = (
        PoolFacts("default_pool", 128, False, 9, 2, 3, 0),
        PoolFacts("warehouse", 8, False, 8, 0, 0, 14),
        PoolFacts("unlimited", -1, False, 1, 0, 0, 0),
    )
    tasks = (
        RunningTask(
            "stock",
            "scheduled__2026-11-29T00:00:00+00:00",
            "load",
            -1,
            "running",
            1,
            "warehouse",
            "io",
            "w2",
            ago(5400),
            ago(3),
        ),
        RunningTask(
            "sales",
            "manual__2026-11-29T06:00:00+00:00",
            "export",
            3,
            "running",
            2,
            "default_pool",
            "cpu",
            "w1",
            ago(310),
            ago(1),
        ),
    )
    seen = Overview(
        now=ago(0),
        platform=make_platform(),
        states={"running": 18, "queued": 2, "scheduled": 14, "deferred": 3},
        runs={"running": 7, "queued": 1},
        pools=pools,
        queues=(QueueLoad("cpu", 2, 10, ago(95)), QueueLoad("io", 0, 8, None)),
        hosts=(HostLoad("w1", 10, ago(310), ago(1)), HostLoad("w2", 8, ago(5400), ago(3))),
        tasks=tasks,
        holders={"default_pool": (("sales", 7), ("stock", 4)), "warehouse": (("stock", 8),)},
        succeeded=212,
        failed=3,
    )
    return PlatformActivity(
        seen,
        (
            ImportFailure(
                "dags/tariff.py", "dags", ago(900), "NameError: name 'rate' is not defined (dags/tariff.py:12)"
            ),
        ),
    )


def make_quiet_activity() -> PlatformActivity:
    """A platform that works and has nothing to do."""
    seen = make_activity().overview
    return PlatformActivity(
        replace(seen, states={}, runs={}, pools=(), queues=(), hosts=(), tasks=(), holders={}, succeeded=0, failed=0),
        (),
    )


def make_pools() -> tuple[ScalingPool, ...]:
    """Return a pool that scales, one whose slots a person set, with a silent worker, and one with drained workers."""
    fixed = SlotOverride(2, ago(4000), "ada", "the hosts of stock are short of memory")
    return (
        ScalingPool(
            "cpu",
            (ScalingWorker("w1", 8, 8, True, 0.6), ScalingWorker("w2", 2, 2, True, 1.1)),
            wanted=10,
            why="10 tasks need a slot",
            decided_at=ago(30),
            least=2,
            most=16,
            fewest=2,
            highest=32,
        ),
        ScalingPool(
            "memory",
            (ScalingWorker("w3", 1, 1, False, 0.9), ScalingWorker("w4", 1, 0, True, 310.0)),
            fixed,
            wanted=2,
            why="set by hand",
            decided_at=ago(30),
            least=2,
            most=8,
            fewest=2,
            highest=8,
        ),
        ScalingPool(
            "io",
            (
                ScalingWorker("w1", 16, 4, True, 2.1),
                ScalingWorker("w5", 16, 3, False, 1.4, drain=PageDrain(ago(400), "grace", "new disk")),
                ScalingWorker("w6", 16, 0, False, 3.2, marked=True),
            ),
        ),
    )


def make_large_pools(hosts: int = 50) -> tuple[ScalingPool, ...]:
    """Return pools that scale on many hosts."""
    workers = tuple(ScalingWorker(f"worker-{number:02}.example.com", 16, 12, True, 0.7) for number in range(hosts))
    return tuple(
        ScalingPool(name, workers, why="800 tasks need a slot", least=50, most=1600, fewest=hosts, highest=32 * hosts)
        for name in ("cpu", "io")
    )


def make_large_activity(dags: int = 500, hosts: int = 50) -> PlatformActivity:
    """A platform with many Dags and hosts."""
    seen = make_activity().overview
    names = [f"dag_{number:03}_of_a_team_with_a_rather_long_name" for number in range(dags)]
    pools = tuple(PoolFacts(f"pool_{number:02}", 64, False, 40 + number % 25, 3, 0, number) for number in range(60))
    task = seen.tasks[0]
    return PlatformActivity(
        replace(
            seen,
            pools=pools,
            queues=tuple(QueueLoad(f"queue_{number}", number, 40, ago(10 * number)) for number in range(12)),
            hosts=tuple(HostLoad(f"worker-{number:02}.example.com", 40, ago(900), ago(2)) for number in range(hosts)),
            tasks=tuple(replace(task, dag=name, since=ago(60 * place)) for place, name in enumerate(names[:50])),
            holders={pool.name: tuple((name, 1) for name in names[:40]) for pool in pools},
        ),
        (),
    )


def make_alerts() -> AlertBoard:
    told: dict[str, dict[str, Any]] = {
        "team": {"sent": 2, "unsent": 0, "failed": 0, "error": None},
        "chat": {"sent": 0, "unsent": 1, "failed": 1, "error": "the address answered 500"},
    }
    platform = {"host": "db1", "mountpoint": "/var"}
    return AlertBoard(
        (
            Alert(
                17,
                "critical",
                "DiskFull",
                "prometheus",
                "The disk /var of db1 is full in 4 h",
                platform,
                "disk-full",
                ago(740),
                None,
                None,
                told,
                None,
            ),
            Alert(
                18,
                "warning",
                "SLA",
                "sla",
                "stock is expected 12 min late: morning (by 06:00)",
                {"dag": "stock", "rule": "morning"},
                "",
                ago(300),
                None,
                "ada",
                {},
                None,
            ),
            Alert(
                16,
                "info",
                "ReplicaLags",
                "prometheus",
                "db2 lags 40 s",
                {"host": "db2"},
                "",
                ago(9000),
                ago(8000),
                None,
                {},
                None,
            ),
        ),
        (
            Silence(
                3,
                Matcher(name="ReplicaLags", labels={"host": "db2"}),
                "ada",
                "maintenance of db2",
                ago(600),
                ago(-3600),
            ),
        ),
    )


def make_releases() -> ReleaseBoard:
    one, two, three = (f"r{digit * 64}" for digit in "9ac")
    manifest: dict[str, Any] = {
        "files": ["dags/sales.py", "dags/stock.py"],
        "commit": {"id": "4be1c09d2f", "dirty": False},
    }
    return ReleaseBoard(
        "dags",
        (
            Release(
                two, manifest, ago(7200), "ada", "tariff of December", False, "database", False, True, "watching", None
            ),
            Release(three, manifest, ago(60), "bob", "faster export", False, "database", False, False, None, None),
            Release(
                one,
                manifest,
                ago(90_000),
                "ada",
                "first",
                True,
                "database",
                False,
                False,
                "failed",
                "twice as many tasks failed as before",
            ),
        ),
        (
            Deployment(
                9,
                two,
                "promote",
                "watching",
                "ada",
                "tariff of December",
                ago(7100),
                ago(7090),
                ago(-500),
                None,
                None,
                {},
            ),
            Deployment(
                8,
                one,
                "rollback",
                "done",
                "airfleet",
                "twice as many tasks failed as before",
                ago(80_000),
                ago(79_990),
                None,
                ago(79_000),
                None,
                {},
            ),
        ),
    )


def make_promises() -> PromiseBoard:
    rule = SlaRule.from_json(
        {
            **{"name": "morning", "kind": "finished-by", "dag": "*", "at": "06:00", "zone": "UTC", "holidays": []},
            **{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "severity": "critical"},
        }
    )
    rules = {("morning", "finished-by"): rule}

    def promise(number: int, dag: str, state: PromiseState, reason: str, expected_s: float = 0) -> dict[str, Any]:
        key = InstanceKey("morning", PromiseKind.FINISHED_BY, Promised(dag), "2026-11-29")
        ended = ago(100) if state in (PromiseState.MET, PromiseState.MISSED) else None
        fulfilled = ago(4000) if state is PromiseState.MET else None
        expected = ago(expected_s) if expected_s else None
        instance = Instance(key, state, ago(90_000), ago(3600), ago(500), None, expected, reason, fulfilled, ended)
        return reports.to_row(number, instance, rules)

    rows = (
        promise(4, "stock", PromiseState.LATE, "the run scheduled__2026-11-29 runs: 8 of 12 tasks have ended", -300),
        promise(5, "sales", PromiseState.MET, ""),
        promise(6, "assets_of_none", PromiseState.DUE, "the next run is at 05:00"),
    )
    return PromiseBoard(EngineState(rules, ago(5), ago(0)), rows)


def make_breakers() -> BreakerBoard:
    why = "2 tasks of stock failed on 2 workers: ConnectionRefusedError"
    return BreakerBoard(
        (
            Breaker("crm", BreakerState.OPEN, 3, ago(200), ago(200), ago(-20), 0, 12, why, "airfleet"),
            Breaker("warehouse", BreakerState.CLOSED),
        ),
        (
            BreakerEvent("crm", ago(200), "open", 0, why, "airfleet"),
            BreakerEvent("crm", ago(9000), "closed", 0, "8 tasks passed", "airfleet"),
        ),
        (LimitStatus("partner", 30, 5, waiting=12, active=3, starts=29, held_until=ago(1)),),
    )


def make_changes() -> list[Row]:
    """Return rows of the audit log, of which somebody has edited the second."""
    entries = (
        AuditEntry(
            id="a",
            source=AuditSource.API,
            actor="admin",
            address="10.0.0.9",
            action="PATCH /api/v2/pools/crm",
            outcome=AuditOutcome.DONE,
            status=200,
        ),
        AuditEntry(
            id="b",
            source=AuditSource.TASK,
            actor="sales manual__1 load try 1",
            action="GET /execution/connections/crm",
            outcome=AuditOutcome.DONE,
            status=200,
        ),
        AuditEntry(
            id="c",
            source=AuditSource.API,
            actor="eve",
            address="10.0.0.66",
            action="POST /auth/token",
            outcome=AuditOutcome.REFUSED,
            status=401,
        ),
    )
    rows = [Row(n, ago(100 - n), one.id, one.to_text(), "0" * 64, "") for n, one in enumerate(entries, 7)]
    return [replace(row, hash="f" * 64 if row.number == 8 else row.compute_hash()) for row in reversed(rows)]


def make_report() -> list[Total]:
    return [
        Total("morning", "finished-by", "stock", "stock", 26, 4, 1, 2400.0),
        Total("morning", "finished-by", "sales", "sales", 30, 0, 0, None),
    ]
