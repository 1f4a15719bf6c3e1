"""The releases and deployments of a platform, as `airfleet release` and the pages in Airflow's UI show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from airfleet_provider.contract.release_schema import AUTOMATIC_ACTOR, DeploymentAction, DeploymentState
from airfleet_provider.contract.statements import Statements

if TYPE_CHECKING:
    from airfleet_provider.contract.explanation.reading import Query

SQL = Statements(__package__, "release_list")


@dataclass(frozen=True, slots=True)
class Release:
    """A release that was built. `state` and `verdict` are of its last deployment that went live."""

    id: str
    manifest: Mapping[str, Any]
    built_at: datetime
    built_by: str
    message: str
    pinned: bool
    location: str | None
    collected: bool
    live: bool
    state: str | None
    verdict: str | None

    @property
    def was_live(self) -> bool:
        """Return whether new runs used this release before, and do not now."""
        return self.state is not None and not self.live


@dataclass(frozen=True, slots=True)
class Deployment:
    """One request to make a release live, and its progress. The releaser works on it."""

    id: int
    release: str | None
    action: str
    state: str
    actor: str
    reason: str | None
    requested_at: datetime
    live_at: datetime | None
    watch_until: datetime | None
    finished_at: datetime | None
    verdict: str | None
    detail: Mapping[str, Any]

    @property
    def is_watched(self) -> bool:
        return self.state == DeploymentState.WATCHING

    @property
    def opinion(self) -> str:
        """Return the verdict of the watch, or the reason of an automatic rollback."""
        return self.verdict or (self.reason or "" if self.actor == AUTOMATIC_ACTOR else "")


def select_releases(query: Query, bundle: str, rest: LiteralString, **parameters: object) -> list[Release]:
    """Return the releases of a bundle. `rest` is the end of the statement, with these parameters."""
    values = {"bundle": bundle, "automatic": AUTOMATIC_ACTOR, **parameters}
    return [Release(**row) for row in query(f"{SQL['select_releases']} {rest}", values)]


def list_releases(query: Query, bundle: str, limit: int) -> list[Release]:
    """Return the live release and the newest others, `limit` at most, the live one first."""
    return select_releases(query, bundle, "ORDER BY live DESC, r.built_at DESC LIMIT %(limit)s", limit=limit)


def list_deployments(query: Query, bundle: str, limit: int) -> list[Deployment]:
    """Return the newest deployments, `limit` at most, the newest first."""
    rest = " WHERE bundle = %(bundle)s ORDER BY id DESC LIMIT %(limit)s"
    rows = query(SQL["select_deployments"] + rest, {"bundle": bundle, "limit": limit})
    return [Deployment(**row) for row in rows]


def find_live(query: Query, bundle: str) -> Deployment | None:
    """Return the deployment of the Dags that Airflow has now, or None if they are not of a release."""
    rest = (
        " WHERE bundle = %(bundle)s AND live_at IS NOT NULL"
        " AND release = (SELECT version FROM dag_bundle WHERE name = %(bundle)s) ORDER BY id DESC LIMIT 1"
    )
    rows = query(SQL["select_deployments"] + rest, {"bundle": bundle})
    return Deployment(**rows[0]) if rows else None


def read_deployment(query: Query, deployment: int) -> Deployment | None:
    """Return a deployment, or None if there is none with this id."""
    rows = query(SQL["select_deployments"] + " WHERE id = %(id)s", {"id": deployment})
    return Deployment(**rows[0]) if rows else None


def touch(query: Query, release: str) -> str | None:
    """Mark a release as used now, and return where its files are, or None if they were removed."""
    rows = query(SQL["touch"], {"id": release})
    return rows[0]["location"] if rows else None


def request(
    query: Query,
    bundle: str,
    action: DeploymentAction,
    release: str | None,
    *,
    actor: str,
    reason: str,
    detail: Mapping[str, Any],
) -> int:
    """Request an action of the releaser, and return the id of the deployment. `touch` the release before."""
    values = {"bundle": bundle, "release": release, "action": action.value, "actor": actor, "reason": reason}
    (row,) = query(SQL["request"], {**values, "detail": json.dumps(detail)})
    return int(row["id"])
