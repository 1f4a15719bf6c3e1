"""Removes old releases: their archives, their folders on this host, and parse results that no release uses.

If the process is killed at any line, the next collection continues there. It first records that a release is
collected, then removes its archive, then records that the archive is gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airfleet_provider.bundles import release_files
from airfleet_provider.compat.calls import config, metadata_db
from airfleet_provider.contract import archive_store, release_archive, release_policy
from airfleet_provider.contract.locks import COLLECT_LOCK
from airfleet_provider.contract.release_schema import UNFINISHED
from airfleet_provider.contract.text import one_line
from airfleet_provider.database import run
from airfleet_provider.releases import retention_rules
from airfleet_provider.releases.retention_rules import KnownRelease

log = logging.getLogger(__name__)

DRAFT_S = 86_400.0
LIST_KNOWN = """
SELECT r.id, r.built_at, r.used_at, r.pinned AS is_pinned,
    COALESCE(p.live = r.id, false) AS is_live, COALESCE(p.previous = r.id, false) AS is_previous,
    (SELECT max(live_at) FROM airfleet.deployment d WHERE d.bundle = r.bundle AND d.release = r.id) AS live_at,
    (SELECT min(id) FROM airfleet.deployment d WHERE d.bundle = r.bundle AND d.release = r.id
        AND d.state IN %(unfinished)s) AS deployment
FROM airfleet.release r LEFT JOIN airfleet.pointer p ON p.bundle = r.bundle
WHERE r.bundle = %(bundle)s AND r.collected_at IS NULL
"""
# The number in fleet.yaml at the last promotion or prune; rollbacks and watches do not read fleet.yaml.
READ_KEEP = """
SELECT (detail -> 'policy' ->> 'keep')::int FROM airfleet.deployment
WHERE bundle = %(bundle)s AND detail -> 'policy' ->> 'keep' IS NOT NULL
    AND (action = 'promote' AND live_at IS NOT NULL OR action = 'prune' AND NOT detail @> '{"dry": true}')
ORDER BY id DESC LIMIT 1
"""
# Counts runs for 10 minutes after their end, because their last callbacks run then.
COUNT_RUNS = """
SELECT bundle_version, count(*) AS runs FROM dag_run
WHERE bundle_version = ANY(%(releases)s::text[])
    AND (state IN ('queued', 'running') OR end_date > now() - interval '10 minutes') GROUP BY 1
"""
# Waits for transactions that use these rows. The next statement sees what those transactions changed.
HOLD = "SELECT id FROM airfleet.release WHERE id = ANY(%(releases)s::text[]) ORDER BY id FOR UPDATE"
# Checks again all conditions that may have changed since, such as Dag runs that were cleared.
MARK = """
UPDATE airfleet.release r SET collected_at = now(), archive = NULL, keys = NULL
WHERE r.id = ANY(%(releases)s::text[]) AND r.collected_at IS NULL AND NOT r.pinned
    AND r.used_at < now() - interval '1 hour'
    AND NOT EXISTS (SELECT 1 FROM airfleet.pointer p WHERE r.id IN (p.live, p.previous))
    AND NOT EXISTS (SELECT 1 FROM airfleet.deployment d WHERE d.release = r.id
        AND d.state IN %(unfinished)s)
    AND NOT EXISTS (SELECT 1 FROM dag_run WHERE bundle_version = r.id
        AND (state IN ('queued', 'running') OR end_date > now() - interval '10 minutes'))
RETURNING r.id
"""
LIST_LEFT = """
SELECT id, location FROM airfleet.release
WHERE bundle = %(bundle)s AND collected_at IS NOT NULL AND location IS NOT NULL
"""
IS_LEFT = "SELECT 1 FROM airfleet.release WHERE id = %(id)s AND collected_at IS NOT NULL"
FORGET_PLACE = "UPDATE airfleet.release SET location = NULL WHERE id = %(id)s"
LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"
LIST_GONE = "SELECT id FROM airfleet.release WHERE bundle = %(bundle)s AND collected_at IS NOT NULL"
# Keeps results of the last day, because their parse may not have ended yet.
OLD_PARSES = """
FROM airfleet.parsed WHERE created_at < now() - interval '1 day'
    AND key NOT IN (SELECT unnest(keys) FROM airfleet.release WHERE collected_at IS NULL)
"""


@dataclass(frozen=True, slots=True)
class Collected:
    """The releases that were removed, or would be in a dry run, and the reason to keep each of the others."""

    kept: Mapping[str, str]
    gone: tuple[str, ...]
    parses: int

    def to_json(self) -> dict[str, Any]:
        return {"kept": dict(self.kept), "gone": list(self.gone), "parses": self.parses}


def collect(name: str, *, keep: int | None = None, dry: bool = False) -> Collected:
    """Remove the releases of a bundle that no retention rule keeps; with `dry`, only report them.

    `keep` is how many of the last releases stay. Without it, the number of the last promotion or prune of this bundle
    counts, then `release_policy.KEEP`.
    """
    with metadata_db.open_session() as session:
        keep = keep or run(session, READ_KEEP, bundle=name).scalar() or release_policy.KEEP
        known = _list_known(session, name)
        kept = retention_rules.judge(known, keep, datetime.now(UTC))
        going = [one.id for one in known if one.id not in kept]
        if dry:
            parses = int(run(session, f"SELECT count(*) {OLD_PARSES}").scalar())
            return Collected(kept, tuple(going), parses)
        run(session, HOLD, releases=going)
        gone = tuple(sorted(release for (release,) in run(session, MARK, releases=going, unfinished=UNFINISHED)))
    _remove_archives(name)
    remove_folders(name)
    with metadata_db.open_session() as session:
        parses = run(session, f"DELETE {OLD_PARSES}").rowcount
    if gone or parses:
        log.info("%s: removed %s releases and %s parse results", name, len(gone), parses)
    return Collected(kept, gone, parses)


def _list_known(session: Any, name: str) -> list[KnownRelease]:  # noqa: ANN401 - sqlalchemy.orm.Session
    rows = [row._mapping for row in run(session, LIST_KNOWN, bundle=name, unfinished=UNFINISHED)]
    counted = run(session, COUNT_RUNS, releases=[row["id"] for row in rows])
    runs = {row.bundle_version: row.runs for row in counted}
    return [KnownRelease(**row, unfinished_runs=runs.get(row["id"], 0)) for row in rows]


def _remove_archives(name: str) -> None:
    with metadata_db.open_session() as session:
        left = list(run(session, LIST_LEFT, bundle=name))
    for row in left:
        with metadata_db.open_session() as session:
            # A process that builds the same files again now either holds the lock first, and the row is in use again,
            # or it stores the archive again after this transaction.
            run(session, LOCK, lock=COLLECT_LOCK)
            if not run(session, IS_LEFT, id=row.id).first():
                continue
            try:
                if row.location != archive_store.DATABASE:
                    archive_store.remove(row.location)
            except archive_store.StoreError as error:
                log.warning("cannot remove an archive now, trying again later: %s", one_line(error))
                continue
            run(session, FORGET_PLACE, id=row.id)


def remove_folders(name: str) -> None:
    """Remove from this host the folders of collected releases, whichever host collected them."""
    versions = config.storage_root() / name / "versions"
    with metadata_db.open_session() as session:
        gone = {release for (release,) in run(session, LIST_GONE, bundle=name)}
    for release in gone:
        if (versions / release).is_dir():
            release_files.tombstone(versions, release).touch()
            release_archive.discard(versions / release)
    for draft in versions.glob(".r*"):
        if draft.is_dir() and time.time() - draft.stat().st_mtime > DRAFT_S:
            release_archive.discard(draft)
