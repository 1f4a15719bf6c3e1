"""Publishes a release: all Dags, the import errors and the pointer to the live release in one transaction."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from airfleet_provider.compat.calls import dag_publishing, db_errors, metadata_db
from airfleet_provider.contract import release_archive
from airfleet_provider.contract.statements import Statements
from airfleet_provider.database import run

SQL = Statements(__package__, "publish")

ATTEMPTS = 6
# SQLSTATEs of deadlock, serialisation failure and lock not available: a new transaction can succeed.
TRANSIENT = frozenset({"40P01", "40001", "55P03"})


class NotStoredError(Exception):
    """Airflow refused to store some Dags; no part of the release was published."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{path}: {text}" for path, text in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True)
class ReleasedDag:
    """One Dag of a release, as its file was parsed."""

    dag_id: str
    path: str
    hash: str
    seconds: float
    is_rewritten: bool = False  # Airflow changes the data before it hashes it, so the hashes cannot be compared


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """The input of `publish`; `id` is None if the Dags come from a project's folder and not from a release."""

    bundle: str
    id: str | None
    folder: Path
    dags: tuple[ReleasedDag, ...]
    errors: Mapping[str, str]
    actor: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """The result of `publish`: numbers of Dags and errors, and the ids of the Dags that it retired."""

    written: int
    switched: int
    errors: int
    gone: tuple[str, ...]

    def count(self) -> dict[str, int]:
        """Return all of the result as numbers."""
        return {"written": self.written, "switched": self.switched, "retired": len(self.gone), "errors": self.errors}


def publish(
    release: PublishedRelease,
    load: Callable[[Sequence[ReleasedDag]], Sequence[dict[str, Any]]],
    finish: Callable[[Any, Published], None],
    *,
    has_fab_roles: bool,
) -> Published:
    """Switch all of Airflow to a release in one transaction, or change nothing.

    `load` returns the serialised data of the given Dags, in their order. `finish` runs at the end of the transaction
    and may raise to roll it back. Both may run up to `ATTEMPTS` times: conflicts of locks are retried.

    Raises:
        NotStoredError: Airflow refused to store some Dags.
        DBAPIError: the database failed, or conflicts of locks remained after the last attempt.
    """
    for attempt in range(ATTEMPTS):
        try:
            with metadata_db.open_session() as session:
                run(session, SQL["register_bundle"], bundle=release.bundle)
            with metadata_db.open_session() as session:
                return _switch(session, release, load, finish, has_fab_roles=has_fab_roles)
        except DBAPIError as error:
            if db_errors.is_unstorable(error) and (refused := _find_unstorable(release, load)):
                raise NotStoredError(refused) from error
            if getattr(error.orig, "pgcode", None) not in TRANSIENT or attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.05 * 2**attempt)
    raise AssertionError


def _switch(
    session: Any,  # noqa: ANN401 - sqlalchemy.orm.Session
    release: PublishedRelease,
    load: Callable[[Sequence[ReleasedDag]], Sequence[dict[str, Any]]],
    finish: Callable[[Any, Published], None],
    *,
    has_fab_roles: bool,
) -> Published:
    ids = [dag.dag_id for dag in release.dags]
    state, changed = _compare(session, release)
    moved = list(run(session, SQL["find_moved"], **_columns(release, release.dags)).scalars()) if release.id else []
    words = {"bundle": release.bundle, "broken": list(release.errors)}
    retired = list(run(session, SQL["find_retired"], **words).scalars()) if release.errors else []
    names = {dag.dag_id for dag in changed}
    same = [dag for dag in release.dags if dag.dag_id not in names]
    if changed or release.errors:
        data = _load(release, changed, load)
        guarded = [one for one in data if one["dag"].get("access_control")]
        if has_fab_roles and guarded and (refused := dag_publishing.sync_permissions(guarded)):
            raise NotStoredError(refused)
        # This call must be the first that writes: if it meets a lock, it rolls the transaction back and retries.
        failed = dag_publishing.write_dags(
            session, bundle=release.bundle, release=release.id, dags=data, errors=release.errors
        )
        if failed:
            raise NotStoredError(failed)
        session.flush()
    _switch_same(session, release, same, state)
    if changed:
        run(session, SQL["switch_dags"], **_columns(release, changed))
    if moved:
        run(session, SQL["switch_moved"], dags=moved, path=release_archive.MOVED_FILE)
    gone = tuple(sorted(dag_id for (dag_id,) in run(session, SQL["retire_dags"], bundle=release.bundle, dags=ids)))
    run(session, SQL["forget_errors"], retired=retired, **words)
    if gone:
        session.expire_all()
        dag_publishing.remove_references(session)
    run(session, SQL["clear_errors"], bundle=release.bundle, files=list(release.errors))
    if release.id:
        values = {"release": release.id, "actor": release.actor, "reason": release.reason}
        run(session, SQL["move_pointer"], bundle=release.bundle, **values)
    run(session, SQL["switch_bundle"], bundle=release.bundle, release=release.id)
    published = Published(len(changed), len(same), len(release.errors), gone)
    finish(session, published)
    return published


def _compare(session: Any, release: PublishedRelease) -> tuple[dict[str, Any], list[ReleasedDag]]:  # noqa: ANN401
    """Return what Airflow has of the Dags of a release, by their ids, and those Dags that have to be written."""
    state = {row.dag_id: row for row in run(session, SQL["read_state"], dags=[dag.dag_id for dag in release.dags])}
    return state, [dag for dag in release.dags if not _is_stored(dag, state.get(dag.dag_id), release.bundle)]


def _load(
    release: PublishedRelease,
    dags: Sequence[ReleasedDag],
    load: Callable[[Sequence[ReleasedDag]], Sequence[dict[str, Any]]],
) -> Sequence[dict[str, Any]]:
    data = load(dags)
    for dag, one in zip(dags, data, strict=True):
        one["dag"]["fileloc"] = str(release.folder / dag.path)
        one["dag"]["relative_fileloc"] = dag.path
    return data


class _RollBackError(Exception):
    """Ends a transaction that was only a trial."""


def _find_unstorable(
    release: PublishedRelease, load: Callable[[Sequence[ReleasedDag]], Sequence[dict[str, Any]]]
) -> dict[str, str]:
    """Write each Dag alone, and change nothing; return the files that the database refuses, with the reason.

    Airflow writes all Dags together, and the error does not say which one the database refused.
    """
    with metadata_db.open_session() as session:
        _, changed = _compare(session, release)
    refused = {}
    for dag in changed:
        try:
            with metadata_db.open_session() as session:
                data = _load(release, [dag], load)
                dag_publishing.write_dags(session, bundle=release.bundle, release=release.id, dags=data, errors={})
                session.flush()
                raise _RollBackError
        except _RollBackError:
            continue
        except DBAPIError as error:
            if not db_errors.is_unstorable(error):
                raise
            said = str(error.orig).partition("\n")[0]
            refused[dag.path] = f"the database cannot store the Dag {dag.dag_id}: {said}"
    return refused


def _is_stored(dag: ReleasedDag, row: Any, bundle: str) -> bool:  # noqa: ANN401 - a row of SQL["read_state"]
    # A stale Dag that returns is written in full: the dates of its next run are from before it was retired.
    return (
        row is not None
        and not dag.is_rewritten
        and row.dag_hash == dag.hash
        and row.bundle_name == row.version_bundle == bundle
        and not row.is_stale
        and not row.has_import_errors
    )


def _switch_same(
    session: Any,  # noqa: ANN401
    release: PublishedRelease,
    dags: Sequence[ReleasedDag],
    state: Mapping[str, Any],
) -> None:
    if not dags:
        return
    versions = [str(state[dag.dag_id].version) for dag in dags]
    run(session, SQL["switch_versions"], bundle=release.bundle, release=release.id, versions=versions)
    run(session, SQL["switch_dags"], **_columns(release, dags))
    sources = {path: (release.folder / path).read_text() for path in {dag.path for dag in dags}}
    hashes = {path: hashlib.md5(source.encode(), usedforsecurity=False).hexdigest() for path, source in sources.items()}
    old = [dag for dag in dags if state[dag.dag_id].source_code_hash != hashes[dag.path]]
    if old:
        run(
            session,
            SQL["switch_code"],
            versions=[str(state[dag.dag_id].version) for dag in old],
            codes=[sources[dag.path] for dag in old],
            hashes=[hashes[dag.path] for dag in old],
            filelocs=[str(release.folder / dag.path) for dag in old],
        )


def _columns(release: PublishedRelease, dags: Sequence[ReleasedDag]) -> dict[str, Any]:
    return {
        "bundle": release.bundle,
        "release": release.id,
        "dags": [dag.dag_id for dag in dags],
        "filelocs": [str(release.folder / dag.path) for dag in dags],
        "relatives": [dag.path for dag in dags],
        "seconds": [dag.seconds for dag in dags],
    }
