"""What the Fleet pages show, read from the metadata database in snapshots that are kept for a few seconds.

The functions are those of `airfleet top`, `alerts`, `release` and `sla`. What is read here is the same for all users;
`views` leaves out what a user may not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from airfleet_provider.compat.calls import config, db_errors
from airfleet_provider.contract import (
    alert_list,
    archive_list,
    audit_store,
    backup_folder,
    breaker_list,
    breaker_rules,
    job_schema,
    limit_list,
    overview,
    release_list,
    service_limits,
    slot_list,
)
from airfleet_provider.contract.alert_list import Alert, Silence
from airfleet_provider.contract.archive_list import ArchivedDag, ArchivedRuns, RunSearch
from airfleet_provider.contract.audit_log import Row
from airfleet_provider.contract.breaker_list import Breaker, BreakerEvent
from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.explanation.facts import ImportFailure
from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.incident import reading as incident
from airfleet_provider.contract.incident.events import TimeLine
from airfleet_provider.contract.limit_list import LimitStatus
from airfleet_provider.contract.overview import Overview
from airfleet_provider.contract.release_list import Deployment, Release
from airfleet_provider.contract.slot_list import ScalingPool
from airfleet_provider.contract.statements import Statements
from airfleet_provider.processes.cache import Cache
from airfleet_provider.slas import reports
from airfleet_provider.slas.reports import EngineState, Total

SQL = Statements(__package__, "readings")

# The jobs that the page of backups shows.
JOBS = (job_schema.BACKUP, job_schema.RUN_ARCHIVE)

Value = TypeVar("Value")
Snapshot = Callable[[], AbstractContextManager[Query]]

# A report reads each instance that ended in its days.
REPORT_DAYS, REPORT_KEPT_S = 30, 60.0
MOST_RELEASES, MOST_DEPLOYMENTS, MOST_EVENTS, MOST_CHANGES = 30, 30, 30, 200


@dataclass(frozen=True, slots=True)
class PlatformActivity:
    """What runs now, and the Dag files that do not load."""

    overview: Overview
    failures: tuple[ImportFailure, ...]


@dataclass(frozen=True, slots=True)
class AlertBoard:
    """The alerts that are open or resolved in the last day, and the silences that have not ended."""

    alerts: tuple[Alert, ...] = ()
    silences: tuple[Silence, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseBoard:
    """The releases and deployments of a bundle. Without a bundle, the platform has no releases."""

    bundle: str = ""
    releases: tuple[Release, ...] = ()
    deployments: tuple[Deployment, ...] = ()

    @property
    def live(self) -> Release | None:
        return next((one for one in self.releases if one.live), None)


@dataclass(frozen=True, slots=True)
class BreakerBoard:
    """The circuit breakers, their last changes, and the limits of services."""

    breakers: tuple[Breaker, ...] = ()
    events: tuple[BreakerEvent, ...] = ()
    limits: tuple[LimitStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupBoard:
    """When the last backup and the last archive of old runs ended, and what the database holds.

    Without `has_wal`, the server keeps no log of changes from which a moment could be restored.
    """

    backup_at: datetime | None
    archive_at: datetime | None
    oldest_run: datetime | None
    database_bytes: int
    has_wal: bool
    wal_archived_at: datetime | None
    is_wal_failing: bool


@dataclass(frozen=True, slots=True)
class PromiseBoard:
    """The promises that are open or ended in the last day, as rows of `airfleet sla list`."""

    engine: EngineState
    rows: tuple[Mapping[str, Any], ...] = ()


class Readings:
    """Reads what the pages show. Each method raises an error of SQLAlchemy if the database does not answer."""

    def __init__(self, snapshot: Snapshot, cache: Cache, reports_cache: Cache) -> None:
        self._snapshot = snapshot
        self._cache = cache
        self._reports = reports_cache

    def read_activity(self) -> PlatformActivity:
        """Return what runs now."""
        return self._cache.get("activity", lambda: self._read(_read_activity))

    def read_pools(self) -> tuple[ScalingPool, ...] | None:
        """Return the pools of workers, or None if this platform keeps none."""
        return self._cache.get("pools", lambda: self._read_if_there(slot_list.list_pools))

    def read_alerts(self) -> AlertBoard | None:
        """Return the alerts, or None if this platform keeps none."""
        return self._cache.get("alerts", lambda: self._read_if_there(_read_alerts))

    def read_releases(self) -> ReleaseBoard | None:
        """Return the releases, or None if this platform keeps none."""
        return self._cache.get("releases", lambda: self._read_if_there(_read_releases))

    def read_promises(self) -> PromiseBoard | None:
        """Return the promises, or None if this platform keeps none."""
        return self._cache.get("promises", lambda: self._read_if_there(_read_promises))

    def read_breakers(self) -> BreakerBoard | None:
        """Return the circuit breakers, or None if this platform keeps none."""
        return self._cache.get("breakers", lambda: self._read_if_there(_read_breakers))

    def read_changes(self) -> list[Row] | None:
        """Return the last rows of the audit log, the newest first, or None if this platform keeps none."""
        return self._cache.get("changes", lambda: self._read_if_there(_read_changes))

    def read_report(self) -> list[Total] | None:
        """Return how often each promise was kept in the last 30 days, or None if this platform keeps none."""
        return self._reports.get("report", lambda: self._read_if_there(_read_report))

    def read_backups(self) -> BackupBoard:
        """Return how old the last backup and the last archive are."""
        return self._cache.get("backups", lambda: self._read(_read_backups))

    def read_archive(self) -> tuple[ArchivedDag, ...] | None:
        """Return the Dags with archived runs, or None if this platform keeps no list of them."""
        return self._cache.get("archive", lambda: self._read_if_there(archive_list.list_dags))

    def find_runs(self, search: RunSearch) -> ArchivedRuns | None:
        """Return the archived runs that fit a search, or None if this platform keeps no list of them."""
        return self._read_if_there(lambda query: archive_list.find_runs(query, search))

    def read_incident(self, span: timedelta) -> TimeLine:
        """Return what happened from so long ago until now."""

        def read(query: Query) -> TimeLine:
            (clock,) = query(SQL["now"], {})
            return incident.read(query, clock["now"] - span, clock["now"])

        return self._cache.get(("incident", span), lambda: self._read(read))

    def read_past(self, since: datetime, until: datetime) -> TimeLine:
        """Return what happened in a span of time."""
        return self._read(lambda query: incident.read(query, since, until))

    def forget(self, what: str) -> None:
        """Read anew at the next request, after a change."""
        self._cache.forget(what)

    def _read(self, read: Callable[[Query], Value]) -> Value:
        with self._snapshot() as query:
            return read(query)

    def _read_if_there(self, read: Callable[[Query], Value]) -> Value | None:
        try:
            return self._read(read)
        except Exception as error:
            if db_errors.is_missing_table(error):
                return None
            raise


def _read_activity(query: Query) -> PlatformActivity:
    return PlatformActivity(overview.read(query), tuple(reading.list_failures(query)))


def _read_alerts(query: Query) -> AlertBoard:
    return AlertBoard(alert_list.list_alerts(query, with_resolved=True), alert_list.list_silences(query))


def _read_releases(query: Query) -> ReleaseBoard:
    bundles = query(SQL["bundle"], {})
    if not bundles:
        return ReleaseBoard()
    name = bundles[0]["bundle"]
    return ReleaseBoard(
        name,
        tuple(release_list.list_releases(query, name, MOST_RELEASES)),
        tuple(release_list.list_deployments(query, name, MOST_DEPLOYMENTS)),
    )


def _read_breakers(query: Query) -> BreakerBoard:
    rules = breaker_rules.parse(config.read_setting(breaker_rules.SECTION, breaker_rules.KEY))
    found = breaker_list.list_breakers(query, [rule.name for rule in rules])
    limits = service_limits.parse(config.read_setting(service_limits.SECTION, service_limits.KEY))
    events = breaker_list.list_events(query, None, limit=MOST_EVENTS)
    return BreakerBoard(found, events, limit_list.list_limits(query, limits) if limits else ())


def _read_backups(query: Query) -> BackupBoard:
    ended = {row["name"]: row["ended_at"] for row in query(SQL["jobs"], {"names": list(JOBS)})}
    (row,) = query(SQL["database"], {})
    folder = config.read_setting("airfleet", "backups")
    newest = backup_folder.find_newest(Path(folder)) if folder else None
    return BackupBoard(
        backup_at=datetime.fromtimestamp(newest, UTC) if newest else ended.get(job_schema.BACKUP),
        archive_at=ended.get(job_schema.RUN_ARCHIVE),
        oldest_run=row["oldest_run"],
        database_bytes=row["size"],
        has_wal=bool(row["archives_wal"]),
        wal_archived_at=row["wal_archived_at"],
        is_wal_failing=row["is_wal_failing"],
    )


def _read_changes(query: Query) -> list[Row]:
    chosen = dict.fromkeys(("since", "until", "actor", "source", "outcome", "text"))
    return [Row.from_json(one) for one in query(audit_store.find_list(), {**chosen, "limit": MOST_CHANGES})]


def _read_promises(query: Query) -> PromiseBoard:
    def ask(statement: Any, values: Mapping[str, object]) -> list[dict[str, Any]]:  # noqa: ANN401 - a literal
        return [dict(row) for row in query(statement, values)]

    engine = reports.read_engine(ask)
    now = engine.now or datetime.now(UTC)
    found = reports.list_instances(ask, rule=None, dag=None, state=None, now=now, with_ended=True)
    return PromiseBoard(engine, tuple(reports.to_row(number, one, engine.rules) for number, one in found))


def _read_report(query: Query) -> list[Total]:
    def ask(statement: Any, values: Mapping[str, object]) -> list[dict[str, Any]]:  # noqa: ANN401 - a literal
        return [dict(row) for row in query(statement, values)]

    (clock,) = query(SQL["now"], {})
    since = clock["now"] - timedelta(days=REPORT_DAYS)
    return reports.report(ask, since=since, until=clock["now"], rule=None, dag=None)
