"""The Fleet pages of the platform that does not exist: what their API answers, with work and without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airfleet_provider.console import inquiry_views, views
from airfleet_provider.console.readings import AlertBoard, BackupBoard, BreakerBoard, PromiseBoard, ReleaseBoard
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract.archive_list import RunSearch
from airfleet_provider.contract.explanation import model
from airfleet_provider.contract.explanation.model import Explanation, Subject
from airfleet_provider.contract.incident.events import TimeLine
from airfleet_provider.contract.run_trace import spans
from airfleet_provider.log_index.store import FoundLines
from airfleet_provider.slas.reports import EngineState
from invented_fleet import (
    ADMIN,
    ago,
    make_activity,
    make_alerts,
    make_breakers,
    make_changes,
    make_pools,
    make_promises,
    make_quiet_activity,
    make_releases,
    make_report,
)
from invented_inquiries import (
    make_archive,
    make_archived_runs,
    make_backups,
    make_explanation,
    make_incident,
    make_lines,
    make_trace,
)


def make_pages(rights: Rights = ADMIN) -> dict[str, Any]:
    """Return what the API answers to somebody with these rights, by path."""
    activity, alerts, releases, promises = make_activity(), make_alerts(), make_releases(), make_promises()
    return {
        "overview": views.show_overview(rights, activity, alerts, releases, promises, make_breakers()),
        "pools": views.show_pools(rights, activity, make_pools()),
        "releases": views.show_releases(rights, releases),
        "slas": views.show_promises(rights, promises, make_report()),
        "alerts": views.show_alerts(rights, alerts),
        "breakers": views.show_breakers(rights, make_breakers()),
        "audit": views.show_changes(make_changes()),
        "explain": make_explanation(),
        "trace": inquiry_views.show_trace(spans.build(make_trace())),
        "incident": inquiry_views.show_incident(rights, make_incident()),
        "backups": inquiry_views.show_backups(make_backups()),
        "archive": inquiry_views.show_archive(rights, make_archive()),
        "archive/runs": inquiry_views.show_archived_runs(RunSearch("sales"), make_archived_runs()),
        "logs": inquiry_views.show_lines(make_lines(), ""),
    }


def make_empty_pages(rights: Rights = ADMIN) -> dict[str, Any]:
    """Return what the API answers on a platform that has nothing to show, by path."""
    activity = make_quiet_activity()
    none = PromiseBoard(EngineState({}, None, None))
    return {
        "overview": views.show_overview(rights, activity, AlertBoard(), ReleaseBoard(), none, BreakerBoard()),
        "pools": views.show_pools(rights, activity),
        "releases": views.show_releases(rights, ReleaseBoard()),
        "slas": views.show_promises(rights, none, ()),
        "alerts": views.show_alerts(rights, AlertBoard()),
        "breakers": views.show_breakers(rights, BreakerBoard()),
        "audit": views.show_changes([]),
        "explain": model.to_json(Explanation(Subject("sales"), ago(0), "active", "sales runs.")),
        "trace": inquiry_views.show_trace(spans.build(replace(make_trace(), tries=(), state="queued", ended=None))),
        "incident": inquiry_views.show_incident(rights, TimeLine(ago(7200), ago(0), ())),
        "backups": inquiry_views.show_backups(BackupBoard(None, None, None, 9_000_000, False, None, False)),
        "archive": inquiry_views.show_archive(rights, ()),
        "logs": inquiry_views.show_lines(FoundLines(), ""),
    }
