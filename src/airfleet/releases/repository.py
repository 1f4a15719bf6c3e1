"""The releases in the metadata database, the pointer to the live release, and the deployments that move it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from airfleet.errors import AirfleetError, DatabaseAwayError
from airfleet.releases.manifest import Manifest
from airfleet.spec.fleet import Releases
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import archive_store, release_archive, release_list
from airfleet_provider.contract.locks import COLLECT_LOCK
from airfleet_provider.contract.release_archive import Tree
from airfleet_provider.contract.release_list import Deployment, Release
from airfleet_provider.contract.release_schema import CHANNEL, FINISHED, DeploymentAction, DeploymentState
from airfleet_provider.contract.statements import Statements

if TYPE_CHECKING:
    from airfleet_provider.contract.explanation.reading import Query

SQL = Statements(__package__, "repository")

LIVE = FINISHED | {DeploymentState.WATCHING}
WAIT_S = 600.0
CONNECT_TIMEOUT_S = 10


class Repository:
    """The releases of one project. Every method that changes something does so in one transaction.

    `start` is the command that starts the platform; hints name it if the database does not answer.

    Raises:
        AirfleetError: From every method, if the database cannot be reached or refuses the statement.
    """

    def __init__(self, database: Secret, bundle: str, *, start: str = "airfleet up") -> None:
        self._database = database
        self._bundle = bundle
        self._start = start

    def save(self, manifest: Manifest, archive: bytes, place: str) -> bool:
        """Store a release, and return whether it is new. The same files are the same release, whoever builds them."""
        is_here = place == archive_store.DATABASE
        location = place if is_here else archive_store.locate(place, self._bundle, manifest.id)
        with self._connect() as connection:
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (COLLECT_LOCK,))
            known = release_list.touch(_query_with(connection), manifest.id)
            if known is not None and (known == archive_store.DATABASE or archive_store.holds(known)):
                return False
            if not is_here:
                archive_store.write(location, archive)
            connection.execute(
                SQL["keep"],
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
        """Request an action of the releaser, such as making a release live, and return the id of the deployment.

        Raises:
            AirfleetError: The files of the release were removed.
        """
        detail = {**({"policy": asdict(policy)} if policy else {}), **more}
        with self._connect() as connection:
            query = _query_with(connection)
            if release and release_list.touch(query, release) is None:
                raise AirfleetError(
                    "the files of this release were removed, as nothing needed them",
                    where=release,
                    hint="check out its commit (`airfleet release show`), and deploy that",
                )
            return release_list.request(query, self._bundle, action, release, actor=actor, reason=reason, detail=detail)

    def wait(
        self,
        deployment: int,
        notify: Callable[[Deployment], None],
        *,
        until: Set[str] = LIVE,
        patience_s: float = WAIT_S,
    ) -> Deployment:
        """Wait until a deployment has a state of `until`, and return it. `notify` is called at each change of state.

        Raises:
            AirfleetError: The state did not change for `patience_s` seconds.
        """
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
                        hint="`airfleet status` shows whether the releaser runs; the deployment continues when it does",
                    )

    def _read_deployment(self, connection: psycopg.Connection[Any], deployment: int) -> Deployment:
        found = release_list.read_deployment(_query_with(connection), deployment)
        if found is None:
            raise AirfleetError(f"there is no deployment {deployment}")
        return found

    def read_parses(self, keys: Iterable[str]) -> list[Mapping[str, Any]]:
        """Return the parse results with these keys. The releaser lists the keys in the detail of a check."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT result FROM airfleet.parsed WHERE key = ANY(%s)", (list(keys),)
            ).fetchall()
        return [row[0] for row in rows]

    def list_objects(self) -> dict[str, frozenset[str]]:
        """Return the names of the connections, variables and slot pools in Airflow's database."""
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
        """Return the live release and the newest others, `limit` at most, the live one first."""
        with self._connect() as connection:
            return release_list.list_releases(_query_with(connection), self._bundle, limit)

    def find(self, prefix: str) -> Release:
        """Return the release whose id begins with a prefix.

        Raises:
            AirfleetError: No release has the prefix, or several have it.
        """
        found = self._select_releases("AND r.id LIKE %(prefix)s ORDER BY r.id LIMIT 3", prefix=f"{prefix}%")
        if len(found) == 2 and found[0].id == release_archive.shorten(found[1].id):
            # An earlier version of airfleet stored the same files under the short id that users see.
            found = [max(found, key=lambda one: (one.live, not one.collected, len(one.id)))]
        if len(found) != 1:
            what = "no release" if not found else "more than one release"
            raise AirfleetError(f"{what} begins with {prefix!r}", hint="airfleet release list")
        return found[0]

    def read_files(self, release: str) -> tuple[Tree, Mapping[str, bytes]]:
        """Return the files of a release as it was built.

        Raises:
            AirfleetError: The files were removed, or cannot be read from the store.
        """
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
        """Pin a release, so that its files are kept until it is unpinned, or unpin it.

        Raises:
            AirfleetError: The files of the release were removed.
        """
        with self._connect() as connection:
            statement = "UPDATE airfleet.release SET pinned = %s WHERE id = %s AND (collected_at IS NULL OR NOT %s)"
            if not connection.execute(statement, (pinned, release, pinned)).rowcount:
                raise AirfleetError("the files of this release were removed", where=release, hint="build it again")

    def find_live(self) -> Release | None:
        """Return the live release, or None before the first deployment."""
        found = self._select_releases("AND p.live = r.id")
        return found[0] if found else None

    def _select_releases(self, rest: LiteralString, **parameters: object) -> list[Release]:
        with self._connect() as connection:
            return release_list.select_releases(_query_with(connection), self._bundle, rest, **parameters)

    def find_latest(self) -> Deployment | None:
        """Return the deployment of the Dags that Airflow has now, or None if they are not of a release."""
        with self._connect() as connection:
            return release_list.find_live(_query_with(connection), self._bundle)

    def list_deployments(self, limit: int) -> list[Deployment]:
        """Return the newest deployments, `limit` at most, the newest first."""
        with self._connect() as connection:
            return release_list.list_deployments(_query_with(connection), self._bundle, limit)

    @contextmanager
    def _connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection[Any]]:
        try:
            connection = psycopg.connect(
                self._database.reveal(), autocommit=autocommit, connect_timeout=CONNECT_TIMEOUT_S
            )
        except psycopg.OperationalError as error:
            raise DatabaseAwayError(
                f"cannot reach the metadata database: {_first_line(error)}", hint=self._start
            ) from error
        try:
            with connection:
                yield connection
        except archive_store.ArchiveStoreError as error:
            raise AirfleetError(str(error), hint="fleet.yaml: releases.store") from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise AirfleetError(
                "this platform has no releases",
                hint=f"say `dags: releases` in fleet.yaml, and start it again: {self._start}",
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise AirfleetError(
                f"the metadata database went away: {_first_line(error)}",
                hint="a requested deployment continues without this command; `airfleet release show` shows its state",
            ) from error
        except psycopg.Error as error:
            raise AirfleetError(
                f"the metadata database refused this: {_first_line(error)}",
                hint="is the platform of another version than this airfleet? `airfleet status` and the database's log",
            ) from error


def _query_with(connection: psycopg.Connection[Any]) -> Query:
    def query(statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, values).fetchall()

    return query


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
