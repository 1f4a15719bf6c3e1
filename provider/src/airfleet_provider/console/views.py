"""The Fleet pages as JSON, without what a user may not see. Pure functions.

Ages are in seconds, and moments in ISO 8601.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from airfleet_provider.console import health
from airfleet_provider.console.health import HealthSignals
from airfleet_provider.console.readings import AlertBoard, BreakerBoard, PlatformActivity, PromiseBoard, ReleaseBoard
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract import overview, release_archive
from airfleet_provider.contract.alert_list import Alert, Silence
from airfleet_provider.contract.audit_log import Row
from airfleet_provider.contract.explanation.facts import Facts
from airfleet_provider.contract.overview import Overview
from airfleet_provider.contract.release_list import Deployment, Release
from airfleet_provider.contract.release_schema import PENDING, UNFINISHED
from airfleet_provider.contract.sla_rules import PromiseState
from airfleet_provider.contract.slot_list import ScalingPool, ScalingWorker
from airfleet_provider.slas.reports import Total

Json = dict[str, Any]

# The labels of an alert that name a Dag: those of SLAs, and those of metrics.
DAG_LABELS = ("dag", "dag_id")
# The page adds up the rest.
MOST_HOLDERS = 5


def show_overview(
    rights: Rights,
    activity: PlatformActivity,
    alerts: AlertBoard | None,
    releases: ReleaseBoard | None,
    promises: PromiseBoard | None,
    breakers: BreakerBoard | None,
) -> Json:
    """Return whether the platform is well, what is wrong, and the figures of the moment."""
    seen = hide_dags(rights, activity.overview)
    own = [one for one in (alerts.alerts if alerts else ()) if sees_alert(rights, one)]
    rows = [row for row in (promises.rows if promises else ()) if sees_promise(rights, row)]
    states = Counter(row["state"] for row in rows if row["ended_at"] is None)
    # What a release and a Dag file say may name any Dag.
    board = releases if releases and rights.reads_all else None
    problems = health.judge(
        HealthSignals(
            seen,
            own,
            activity.failures if rights.reads_all else (),
            board.deployments if board else (),
            hide_reasons(rights, breakers).breakers if breakers else (),
            states[PromiseState.LATE.value],
            states[PromiseState.AT_RISK.value],
        )
    )
    verdict, sentence = health.conclude(problems)
    shown = overview.to_json(seen)
    return {
        "at": shown["at"],
        "verdict": verdict,
        "sentence": sentence,
        "problems": [{**asdict(one), "since": _moment(one.since)} for one in problems],
        "states": shown["states"],
        "runs": shown["runs"],
        "last_minute": shown["last_minute"],
        "components": shown["components"],
        "lease": shown["lease"],
        "alerts": dict(Counter(one.severity for one in own if one.resolved_at is None)),
        "promises": {
            state: states[state]
            for state in (PromiseState.LATE.value, PromiseState.AT_RISK.value, PromiseState.DUE.value)
        },
        "live": _describe_release(board.live) if board and board.live else None,
    }


def show_pools(rights: Rights, activity: PlatformActivity, pools: Iterable[ScalingPool] = ()) -> Json:
    """Return the pools of workers, slot pools with holders, queues, hosts, and the longest running tasks."""
    shown = overview.to_json(hide_dags(rights, activity.overview))
    for pool in shown["slot_pools"]:
        del pool["holders"][MOST_HOLDERS:]
    names = ("at", "slot_pools", "queues", "hosts", "slowest")
    return {
        **{name: shown[name] for name in names},
        "worker_pools": [_describe_pool(rights, one) for one in pools],
        "may_operate": rights.operates,
        "hides_dags": not rights.reads_all,
    }


def show_releases(rights: Rights, board: ReleaseBoard) -> Json:
    """Return the live release, the others, and what became of the last deployments."""
    return {
        "bundle": board.bundle,
        "live": _describe_release(board.live) if board.live else None,
        "releases": [_describe_release(one) for one in board.releases],
        "deployments": [_describe_deployment(one) for one in board.deployments],
        "may_operate": rights.operates,
        # Else a rollback has to wait for the end of a deployment.
        "is_settled": not any(one.state in PENDING for one in board.deployments),
    }


def show_breakers(rights: Rights, board: BreakerBoard) -> Json:
    """Return the circuit breakers and the limits of services with what waits for them, and the last changes."""
    shown = hide_reasons(rights, board)
    return {
        "breakers": [
            {
                **asdict(one),
                "changed_at": _moment(one.changed_at),
                "opened_at": _moment(one.opened_at),
                "probe_at": _moment(one.probe_at),
            }
            for one in shown.breakers
        ],
        "events": [{**asdict(one), "happened_at": _moment(one.happened_at)} for one in shown.events],
        "limits": [{**asdict(one), "held_until": _moment(one.held_until)} for one in shown.limits],
    }


def show_promises(rights: Rights, board: PromiseBoard, report: Iterable[Total]) -> Json:
    """Return the promises that are open or ended lately, and how often each rule was kept."""
    rows = [row for row in board.rows if sees_promise(rights, row)]
    totals = [one for one in report if rights.may_see(one.dag_id)]
    return {
        "has_rules": bool(board.engine.rules),
        "is_stale": bool(board.engine.rules) and board.engine.is_stale,
        "unmatched": list(board.engine.unmatched) if rights.reads_all else [],
        "promises": rows,
        "report": [{**one.to_row(), "met_percent": one.share} for one in totals],
    }


def show_changes(rows: Sequence[Row]) -> Json:
    """Return the last rows of the audit log, the newest first."""
    return {"changes": [_describe_change(one) for one in rows]}


def show_alerts(rights: Rights, board: AlertBoard) -> Json:
    """Return the alerts, the most severe first, and the silences."""
    return {
        "alerts": [_describe_alert(one) for one in board.alerts if sees_alert(rights, one)],
        "silences": [_describe_silence(one) for one in board.silences] if rights.sees_platform else [],
        "may_operate": rights.operates,
    }


def hide_dags(rights: Rights, seen: Overview) -> Overview:
    """Return an overview without the Dags that a user may not read. The figures of pools and queues stay whole."""
    if rights.reads_all:
        return seen
    holders = {
        pool: tuple((dag, slots) for dag, slots in held if rights.may_see(dag)) for pool, held in seen.holders.items()
    }
    return replace(seen, holders=holders, tasks=tuple(one for one in seen.tasks if rights.may_see(one.dag)))


def hide_holders(rights: Rights, facts: Facts) -> Facts:
    """Return the facts for an explanation, without task instances of Dags that a user may not read.

    Who opened a breaker, and why, may name any task, and is left out too.
    """
    if rights.reads_all:
        return facts
    return replace(
        facts,
        holders=tuple(one for one in facts.holders if rights.may_see(one.dag)),
        breakers=tuple(replace(one, reason="", actor="") for one in facts.breakers),
        run_facts=tuple(hide_holders(rights, one) for one in facts.run_facts),
    )


def hide_reasons(rights: Rights, board: BreakerBoard) -> BreakerBoard:
    """Return the breakers without who moved them and why, which may name any task, unless the user reads every Dag."""
    if rights.reads_all:
        return board
    return BreakerBoard(
        tuple(replace(one, reason="", actor="") for one in board.breakers),
        tuple(replace(one, reason="", actor="") for one in board.events),
        board.limits,
    )


def sees_alert(rights: Rights, alert: Alert) -> bool:
    """Return whether a user may see an alert: one about a Dag as the Dag, any other as the platform."""
    named = [alert.labels[label] for label in DAG_LABELS if alert.labels.get(label)]
    return all(map(rights.may_see, named)) if named else rights.sees_platform


def sees_promise(rights: Rights, row: Mapping[str, Any]) -> bool:
    """Return whether a user may see a promise: one about a Dag as the Dag, one about an asset as the platform."""
    return rights.may_see(row["dag_id"])


def _describe_alert(one: Alert) -> Json:
    return {
        "id": one.id,
        "severity": one.severity,
        "name": one.name,
        "source": one.source,
        "summary": one.summary,
        "labels": dict(one.labels),
        "runbook": one.runbook,
        "started_at": _moment(one.started_at),
        "resolved_at": _moment(one.resolved_at),
        "acknowledged_by": one.acknowledged_by,
        "state": one.state,
        "notified": [{"receiver": name, **counts} for name, counts in sorted(one.notified.items())],
    }


def _describe_pool(rights: Rights, one: ScalingPool) -> Json:
    fixed = one.override
    return {
        "name": one.name,
        "workers": [_describe_worker(rights, worker) for worker in one.workers],
        "override": {
            "slots": fixed.slots,
            "set_at": _moment(fixed.set_at),
            "actor": fixed.actor,
            # What a person wrote may name any task.
            "reason": fixed.reason if rights.reads_all else "",
        }
        if fixed
        else None,
        "why": one.why,
        **{name: getattr(one, name) for name in ("least", "most", "fewest", "highest")},
    }


def _describe_worker(rights: Rights, one: ScalingWorker) -> Json:
    drain = one.drain
    return {
        "host": one.host,
        "state": one.state,
        "slots": one.slots,
        "held": one.held,
        "report_age_s": one.age_s,
        "marked": one.marked,
        "drain": {
            "drained_at": _moment(drain.drained_at),
            "actor": drain.actor,
            # What a person wrote may name any task.
            "reason": drain.reason if rights.reads_all else "",
        }
        if drain
        else None,
    }


def _describe_change(one: Row) -> Json:
    words = one.fields
    return {
        "number": one.number,
        "at": _moment(one.recorded_at),
        "is_whole": one.compute_hash() == one.hash,
        **{name: str(words.get(name, "")) for name in ("source", "actor", "address", "action", "outcome", "status")},
    }


def _describe_silence(one: Silence) -> Json:
    parts = {"source": one.matcher.source, "name": one.matcher.name, **one.matcher.labels}
    return {
        "id": one.id,
        "what": {key: text for key, text in parts.items() if text},
        "actor": one.actor,
        "comment": one.comment,
        "ends_at": _moment(one.ends_at),
    }


def _describe_release(one: Release) -> Json:
    commit = one.manifest.get("commit") or {}
    return {
        "id": one.id,
        "short": release_archive.shorten(one.id),
        "built_at": _moment(one.built_at),
        "built_by": one.built_by,
        "message": one.message,
        "commit": commit.get("id", "")[:8] + "+" * bool(commit.get("dirty")),
        "files": len(one.manifest.get("files", ())),
        "live": one.live,
        "was_live": one.was_live,
        "pinned": one.pinned,
        "removed": one.collected,
        "state": one.state,
        "verdict": one.verdict,
    }


def _describe_deployment(one: Deployment) -> Json:
    return {
        "id": one.id,
        "release": release_archive.shorten(one.release) if one.release else None,
        "action": one.action,
        "state": one.state,
        "unfinished": one.state in UNFINISHED,
        "actor": one.actor,
        "reason": one.reason,
        "requested_at": _moment(one.requested_at),
        "live_at": _moment(one.live_at),
        "watch_until": _moment(one.watch_until) if one.is_watched else None,
        "verdict": one.opinion or _explain_failure(one.detail),
    }


def _explain_failure(detail: Mapping[str, Any]) -> str:
    lines: Sequence[Any] = detail.get("errors") or ()
    return "; ".join(filter(None, (str(detail.get("message", "")), *(str(one.get("path", "")) for one in lines[:3]))))


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
