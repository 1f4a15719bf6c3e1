"""The API of the Fleet pages over an invented platform, which notes what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from fastapi.testclient import TestClient

import invented_fleet
import invented_inquiries
from airfleet_provider.console.readings import (
    AlertBoard,
    BackupBoard,
    BreakerBoard,
    PlatformActivity,
    PromiseBoard,
    ReleaseBoard,
)
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract.archive_list import ArchivedDag, ArchivedRuns, RunSearch
from airfleet_provider.contract.audit_log import Row
from airfleet_provider.contract.incident.events import TimeLine
from airfleet_provider.contract.slot_list import ScalingPool
from airfleet_provider.log_index.store import FoundLines, LogQuery
from airfleet_provider.slas.reports import Total

PAGES = ("overview", "pools", "releases", "slas", "alerts", "breakers", "backups", "archive", "incident", "audit")
ACKNOWLEDGE = "/alerts/17/acknowledge"
SCALE = "/pools/cpu/scale"
TURNS = ("/workers/drain", "/workers/resume")


def name_case(value: object) -> str:
    return str(getattr(value, "name", value))


class InventedReadings:
    """Reads an invented platform; `error` is raised in its place."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.has_tables = True
        self.forgotten: list[str] = []
        self.searched: list[RunSearch] = []

    def read_activity(self) -> PlatformActivity:
        self._answer()
        return invented_fleet.make_activity()

    def read_pools(self) -> tuple[ScalingPool, ...] | None:
        return invented_fleet.make_pools() if self._answer() else None

    def read_alerts(self) -> AlertBoard | None:
        return invented_fleet.make_alerts() if self._answer() else None

    def read_releases(self) -> ReleaseBoard | None:
        return invented_fleet.make_releases() if self._answer() else None

    def read_promises(self) -> PromiseBoard | None:
        return invented_fleet.make_promises() if self._answer() else None

    def read_breakers(self) -> BreakerBoard | None:
        return invented_fleet.make_breakers() if self._answer() else None

    def read_changes(self) -> list[Row] | None:
        return invented_fleet.make_changes() if self._answer() else None

    def read_report(self) -> list[Total] | None:
        return invented_fleet.make_report() if self._answer() else None

    def read_backups(self) -> BackupBoard:
        self._answer()
        return invented_inquiries.make_backups()

    def read_archive(self) -> tuple[ArchivedDag, ...] | None:
        return invented_inquiries.make_archive() if self._answer() else None

    def find_runs(self, search: RunSearch) -> ArchivedRuns | None:
        self.searched.append(search)
        return invented_inquiries.make_archived_runs() if self._answer() else None

    def read_incident(self, span: timedelta) -> TimeLine:
        self._answer()
        return replace(invented_inquiries.make_incident(), since=invented_fleet.ago(span.total_seconds()))

    def read_past(self, since: datetime, until: datetime) -> TimeLine:
        self._answer()
        return replace(invented_inquiries.make_incident(), since=since, until=until)

    def forget(self, what: str) -> None:
        self.forgotten.append(what)

    def _answer(self) -> bool:
        if self.error:
            raise self.error
        return self.has_tables


class InventedIndex:
    """An index of logs, which notes what it is asked, and does not answer while there is an `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[LogQuery] = []

    def search(self, question: LogQuery, most: int) -> FoundLines:
        if self.error:
            raise self.error
        self.asked.append(question)
        # Even if the index returned lines of other Dags, nobody may see them.
        return invented_inquiries.make_lines()


@dataclass
class Bench:
    """The application, and what it did. `as_user` returns a client that is logged in with these rights."""

    readings: InventedReadings
    as_user: Callable[[Rights | None], TestClient]
    index: InventedIndex
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    requested: list[dict[str, Any]] = field(default_factory=list)
    silenced: list[dict[str, Any]] = field(default_factory=list)
    scaled: list[dict[str, Any]] = field(default_factory=list)
    turned: list[dict[str, Any]] = field(default_factory=list)
    audited: list[dict[str, Any]] = field(default_factory=list)
