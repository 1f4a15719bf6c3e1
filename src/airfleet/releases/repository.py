"""Releases, the pointer to the live one, and the deployments that move it, in the metadata database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row

from airfleet.errors import AirfleetError
from airfleet.releases.manifest import Manifest
from airfleet.spec.fleet import Releases
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import archive_store, release_archive
from airfleet_provider.contract.locks import COLLECT_LOCK
from airfleet_provider.contract.release_archive import Tree
from airfleet_provider.contract.release_schema import (
    AUTOMATIC_ACTOR,
    CHANNEL,
    FINISHED,
    DeploymentAction,
    DeploymentState,
)

LIVE = FINISHED | {DeploymentState.WATCHING}
WAIT_S = 600.0
CONNECT_TIMEOUT_S = 10
SELECT_DEPLOYMENTS: LiteralString = """
SELECT id, release, action, state, coalesce(actor, '') AS actor, reason, requested_at, live_at, watch_until,
    finished_at, verdict, detail
FROM airfleet.deployment
"""
OF_WHAT_IS_LIVE: LiteralString = """
WHERE bundle = %(bundle)s AND live_at IS NOT NULL
    AND release = (SELECT version FROM dag_bundle WHERE name = %(bundle)s) ORDER BY id DESC LIMIT 1
"""
# Whoever is about to use a release says so, and it is not collected.
TOUCH: LiteralString = """
UPDATE airfleet.release SET used_at = now() WHERE id = %s AND collected_at IS NULL RETURNING location
"""
KEEP: LiteralString = """
INSERT INTO airfleet.release AS r (id, bundle, manifest, archive, location, built_by, message)
VALUES (%(id)s, %(bundle)s, %(manifest)s, %(archive)s, %(location)s, %(actor)s, %(message)s)
ON CONFLICT (id) DO UPDATE SET archive = excluded.archive, location = excluded.location, used_at = now(),
    built_at = now(), built_by = excluded.built_by, message = excluded.message, collected_at = NULL
"""
SELECT_RELEASES: LiteralString = """
SELECT r.id, r.manifest, r.built_at, coalesce(r.built_by, '') AS built_by, coalesce(r.message, '') AS message, r.pinned,
    r.location, r.collected_at IS NOT NULL AS collected, coalesce(p.live = r.id, false) AS live, d.state,
    coalesce(d.verdict, d.reason) AS verdict
FROM airfleet.release r LEFT JOIN airfleet.pointer p ON p.bundle = r.bundle
LEFT JOIN LATERAL (
    SELECT state, verdict, CASE WHEN actor = %(automatic)s THEN reason END AS reason FROM airfleet.deployment
    WHERE bundle = r.bundle AND release = r.id AND live_at IS NOT NULL ORDER BY id DESC LIMIT 1
) d ON true
WHERE r.bundle = %(bundle)s
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A release that was built, whether it is live, and what was thought of it when it last was."""

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


@dataclass(frozen=True, slots=True)
class Deployment:
    """One request to make a release live, and what became of it."""

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
        """What the watch says, or why it went back here."""
        return self.verdict or (self.reason or "" if self.actor == AUTOMATIC_ACTOR else "")


class Repository:
    """What one project's releases are and were; every change is one transaction.

    `start` is the command that starts the platform, for those who find it down.
    """

    def __init__(self, database: Secret, bundle: str, *, start: str = "airfleet up") -> None:
        self._database = database
        self._bundle = bundle
        self._start = start

    def save(self, manifest: Manifest, archive: bytes, place: str) -> bool:
        """Keep a release; whether it is new. The same files are the same release, whoever builds them."""
        is_here = place == archive_store.DATABASE
        location = place if is_here else archive_store.locate(place, self._bundle, manifest.id)
        with self._connect() as connection:
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (COLLECT_LOCK,))
            known = connection.execute(TOUCH, (manifest.id,)).fetchone()
            if known and (known[0] == archive_store.DATABASE or archive_store.holds(known[0])):
                return False
            if not is_here:
                archive_store.write(location, archive)
            connection.execute(
                KEEP,
                {
                    "id": manifest.id,
                    "bundle": self._bundle,
                    "manifest": json.dumps(manifest.to_json()),
                    "archive": archive if is_here else None,
                    "location": location,
                    "actor": manifest.actor,
                    "message": manifest.message,
                },
            )
        return True

    def request(
        self,
        action: DeploymentAction,
        release: str | None,
        *,
        actor: str,
        reason: str,
        policy: Releases | None = None,
        **more: object,
    ) -> int:
        """Ask the releaser to do something with a release, such as making it live; the number of the deployment."""
        detail = {**({"policy": asdict(policy)} if policy else {}), **more}
        with self._connect() as connection:
            if release and not connection.execute(TOUCH, (release,)).fetchone():
                raise AirfleetError(
                    "the files of this release were removed, as nothing needed them",
                    where=release,
                    hint="check out its commit (`airfleet release show`), and deploy that",
                )
            row = connection.execute(
                "INSERT INTO airfleet.deployment (bundle, release, action, actor, reason, detail)"
                " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
                (self._bundle, release, action, actor, reason, json.dumps(detail)),
            ).fetchone()
        assert row is not None  # noqa: S101 - RETURNING always answers
        return int(row[0])

    def wait(
        self,
        deployment: int,
        notify: Callable[[Deployment], None],
        *,
        until: Set[str] = LIVE,
        patience_s: float = WAIT_S,
    ) -> Deployment:
        """The deployment once it is in one of the states; `notify` is told of each on the way."""
        with self._connect(autocommit=True) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            seen = ""
            while True:
                current = self._read_deployment(connection, deployment)
                if current.state != seen:
                    notify(current)
                    seen = current.state
                if current.state in until:
                    return current
                if not any(True for _ in connection.notifies(timeout=patience_s, stop_after=1)):
                    raise AirfleetError(
                        f"deployment {deployment} is still {seen} after {patience_s:.0f} s",
                        hint="`airfleet status` shows whether the releaser runs; the deployment goes on when it does",
                    )

    def _read_deployment(self, connection: psycopg.Connection[Any], deployment: int) -> Deployment:
        with connection.cursor(row_factory=class_row(Deployment)) as cursor:
            row = cursor.execute(
                SELECT_DEPLOYMENTS + "WHERE id = %s",
                (deployment,),
            ).fetchone()
        if row is None:
            raise AirfleetError(f"there is no deployment {deployment}")
        return row

    def read_parses(self, keys: Iterable[str]) -> list[Mapping[str, Any]]:
        """How Dag files loaded, by the keys that a check names."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT result FROM airfleet.parsed WHERE key = ANY(%s)", (list(keys),)
            ).fetchall()
        return [row[0] for row in rows]

    def list_objects(self) -> dict[str, frozenset[str]]:
        """The names of the connections, variables and slot pools that Airflow has in its database."""
        queries: dict[str, LiteralString] = {
            "connections": "SELECT conn_id FROM connection",
            "variables": "SELECT key FROM variable",
            "slot_pools": "SELECT pool FROM slot_pool",
        }
        with self._connect() as connection:
            return {
                kind: frozenset(row[0] for row in connection.execute(query).fetchall())
                for kind, query in queries.items()
            }

    def list_releases(self, limit: int) -> list[Release]:
        """The newest releases first; the live one is always among them."""
        return self._select_releases("ORDER BY live DESC, r.built_at DESC LIMIT %(limit)s", limit=limit)

    def find(self, prefix: str) -> Release:
        """The one release whose id begins so; raises AirfleetError for none or several."""
        found = self._select_releases("AND r.id LIKE %(prefix)s ORDER BY r.id LIMIT 3", prefix=f"{prefix}%")
        if len(found) == 2 and found[0].id == release_archive.shorten(found[1].id):
            # The same files, which an earlier version of airfleet kept under the id that people are shown.
            found = [max(found, key=lambda one: (one.live, not one.collected, len(one.id)))]
        if len(found) != 1:
            what = "no release" if not found else "more than one release"
            raise AirfleetError(f"{what} begins with {prefix!r}", hint="airfleet release list")
        return found[0]

    def read_files(self, release: str) -> tuple[Tree, Mapping[str, bytes]]:
        """The files of a release as it was built, whatever the project's folder says by now."""
        with self._connect() as connection:
            row = connection.execute(
                "SELECT archive, location FROM airfleet.release WHERE id = %s AND collected_at IS NULL", (release,)
            ).fetchone()
            if row is None:
                raise AirfleetError("the files of this release were removed", where=release, hint="build it again")
            archive = bytes(row[0]) if row[0] is not None else archive_store.read(row[1])
        try:
            return release_archive.read_archive(release, archive)
        except release_archive.CorruptError as error:
            raise AirfleetError(str(error), hint="deploy again; what is live on the hosts is not touched") from error

    def pin(self, release: str, *, pinned: bool) -> None:
        """Keep a release until it is unpinned, whatever else happens, or no longer."""
        with self._connect() as connection:
            statement = "UPDATE airfleet.release SET pinned = %s WHERE id = %s AND (collected_at IS NULL OR NOT %s)"
            if not connection.execute(statement, (pinned, release, pinned)).rowcount:
                raise AirfleetError("the files of this release were removed", where=release, hint="build it again")

    def find_live(self) -> Release | None:
        """The release that new runs use, or none before the first."""
        found = self._select_releases("AND p.live = r.id")
        return found[0] if found else None

    def _select_releases(self, rest: LiteralString, **parameters: object) -> list[Release]:
        with self._connect() as connection, connection.cursor(row_factory=class_row(Release)) as cursor:
            return cursor.execute(
                SELECT_RELEASES + rest,
                {"bundle": self._bundle, "automatic": AUTOMATIC_ACTOR, **parameters},
            ).fetchall()

    def find_latest(self) -> Deployment | None:
        """The deployment that made live what Airflow has now, or none where that is no release."""
        with self._connect() as connection, connection.cursor(row_factory=class_row(Deployment)) as cursor:
            return cursor.execute(
                SELECT_DEPLOYMENTS + OF_WHAT_IS_LIVE,
                {"bundle": self._bundle},
            ).fetchone()

    def list_deployments(self, limit: int) -> list[Deployment]:
        """The audit trail, newest first."""
        with self._connect() as connection, connection.cursor(row_factory=class_row(Deployment)) as cursor:
            return cursor.execute(
                SELECT_DEPLOYMENTS + "WHERE bundle = %s ORDER BY id DESC LIMIT %s",
                (self._bundle, limit),
            ).fetchall()

    @contextmanager
    def _connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection[Any]]:
        try:
            connection = psycopg.connect(
                self._database.reveal(), autocommit=autocommit, connect_timeout=CONNECT_TIMEOUT_S
            )
        except psycopg.OperationalError as error:
            raise AirfleetError(
                f"cannot reach the metadata database: {_first_line(error)}", hint=self._start
            ) from error
        try:
            with connection:
                yield connection
        except archive_store.StoreError as error:
            raise AirfleetError(str(error), hint="fleet.yaml: releases.store") from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise AirfleetError(
                "this platform has no releases",
                hint=f"say `dags: releases` in fleet.yaml, and start it again: {self._start}",
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise AirfleetError(
                f"the metadata database went away: {_first_line(error)}",
                hint="a deployment that was asked for goes on without this command; `airfleet release show` tells",
            ) from error
        except psycopg.Error as error:
            raise AirfleetError(
                f"the metadata database refused this: {_first_line(error)}",
                hint="is the platform of another version than this airfleet? `airfleet status` and the database's log",
            ) from error


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
