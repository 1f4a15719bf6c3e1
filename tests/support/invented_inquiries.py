"""What somebody finds out about the platform that does not exist: why, when, what was logged, and what is archived."""

from __future__ import annotations

from typing import Any

from airfleet_provider.console.readings import BackupBoard
from airfleet_provider.contract.archive_list import ArchivedDag, ArchivedMonth, ArchivedRuns, FoundRun
from airfleet_provider.contract.explanation import model
from airfleet_provider.contract.explanation.model import Blocker, Cause, CauseSeverity, Code, Explanation, Subject
from airfleet_provider.contract.incident.events import IncidentEvent, TimeLine
from airfleet_provider.contract.run_trace.spans import TracedRun, Try
from airfleet_provider.log_index.lines import LineOrigin
from airfleet_provider.log_index.store import FoundLines, Hit
from invented_fleet import ago


def make_explanation() -> dict[str, Any]:
    own = Subject("sales", "manual__1", "load")
    other = Subject("stock", "scheduled__1", "load")
    causes = (
        Cause(
            Code.POOL_FULL,
            CauseSeverity.WAITING,
            "The slot pool warehouse is full: 8 of 8 slots are used, and 14 tasks wait.",
            since=ago(240),
            blockers=(Blocker("task", "stock load", "running", ago(5400), "w2", 8, other),),
            unnamed=2,
            advice="It goes on when a holder ends. More slots let more tasks run at once.",
            commands=("airfleet explain stock scheduled__1 load",),
        ),
        Cause(
            Code.PROMISE, CauseSeverity.NOTE, "The SLA morning (finished-by) is late.", commands=("airfleet sla list",)
        ),
    )
    return model.to_json(
        Explanation(
            own,
            ago(0),
            "scheduled",
            "load waits: the slot pool warehouse is full.",
            causes,
            unknown=("the workers could not be asked",),
        )
    )


def make_trace(tasks: int = 0) -> TracedRun:
    """Return a run that waited for a slot pool and for a second try; with `tasks`, one with so many mapped tasks."""

    def make_try(task: str, moments: str, state: str = "success", *, number: int = 1, index: int = -1) -> Try:
        scheduled, queued, started, ended = (ago(600 - float(one)) for one in moments.split())
        return Try(task, index, number, state, scheduled, queued, started, ended, "w1", "cpu", "warehouse")

    tries = (
        make_try("extract", "0.2 0.3 0.5 40"),
        make_try("load", "40.4 190 190.8 260", "failed"),
        make_try("load", "320 320.1 320.4 480", number=2),
        make_try("audit", "40.4 40.5 41 75"),
        make_try("report", "480.3 480.4 480.9 560"),
        *(
            make_try("export", f"41 {42 + one % 60} {43 + one % 60} {50 + one % 400}", index=one)
            for one in range(tasks)
        ),
    )
    upstream = {"load": frozenset({"extract"}), "audit": frozenset({"extract"}), "report": frozenset({"load", "audit"})}
    run = "scheduled__2026-11-29T00:00:00+00:00"
    return TracedRun("sales", run, "success", ago(600), ago(600), ago(39), ago(0), tries, "r" + "a" * 64, upstream)


def make_incident() -> TimeLine:
    """Return what happened on a platform: a bad release, the alert and the rollback."""
    release, late = "dags raaaaaaaaaaa", "stock is expected 12 min late: morning (by 06:00)"
    return TimeLine(
        ago(7200),
        ago(0),
        (
            IncidentEvent(ago(7000), "release", release, "promote live: tariff of December", "ada"),
            IncidentEvent(ago(900), "dag", "dags/tariff.py", "does not load: NameError: rate", is_bad=True, count=4),
            IncidentEvent(ago(700), "run", "stock scheduled__1", "the run failed", is_bad=True),
            IncidentEvent(ago(500), "alert", "SLA", f"warning: {late}", is_bad=True),
            IncidentEvent(ago(400), "change", "stock", "clear_task_instances", "bob"),
            IncidentEvent(ago(300), "release", release, "rollback done: twice as many tasks fail", "ada", is_bad=True),
        ),
    )


def make_backups() -> BackupBoard:
    """Return a platform with a backup of last night, and an archive of last week."""
    return BackupBoard(ago(30_000), ago(500_000), ago(90 * 86_400), 23_400_000_000, True, ago(40), False)


def make_archive(dags: int = 2) -> tuple[ArchivedDag, ...]:
    """Return Dags with archived runs."""
    names = ["sales", "stock", *(f"dag_{number:03}_of_a_team_with_a_rather_long_name" for number in range(2, dags))]
    return tuple(
        ArchivedDag(name, 3, 2160 + number, 25_920, 8_400_000 + number, ago(200 * 86_400), ago(90 * 86_400))
        for number, name in enumerate(names[:dags])
    )


def make_archived_runs() -> ArchivedRuns:
    """Return two archived runs of a Dag, of which one was restored."""
    months = (ArchivedMonth("2026-08", 744, 8928, 2_900_000), ArchivedMonth("2026-07", 744, 8928, 2_850_000))
    runs = (
        FoundRun("manual__of_the_auditor", ago(91 * 86_400), 12, "success"),
        FoundRun("scheduled__nightly", ago(92 * 86_400), 12, None),
    )
    return ArchivedRuns(months, runs, is_cut=True)


def make_lines(*, dag: str = "") -> FoundLines:
    """Return log lines of two Dags and of a component."""

    def make_hit(number: int, level: str, text: str, origin: LineOrigin) -> Hit:
        return Hit("w1:f", number, int((ago(90 - number).timestamp()) * 1_000_000), level, text, origin)

    refused = (
        "ConnectionRefusedError: [Errno 111]\n  /project/dags/stock.py:12 in load\n  /project/dags/crm.py:80 in ask"
    )
    own = LineOrigin("w1", "task", "sales", "load", "manual__1", 3, 2)
    other = LineOrigin("w2", "task", "stock", "load", "scheduled__1", -1, 1)
    hits = (
        make_hit(1, "warning", "8 rows have no rate", own),
        make_hit(2, "error", refused, other),
        make_hit(3, "critical", "the database does not answer", LineOrigin("s1", "scheduler")),
        make_hit(4, "error", "ValueError: no price <b>for</b> 4711", own),
    )
    return FoundLines(tuple(one for one in hits if not dag or one.origin.dag == dag), is_cut=not dag)
