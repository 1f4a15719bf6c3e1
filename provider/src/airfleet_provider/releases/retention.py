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
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.text import one_line
from airfleet_provider.database import run
from airfleet_provider.releases import retention_rules
from airfleet_provider.releases.retention_rules import KnownRelease

SQL = Statements(__package__, "retention")

log = logging.getLogger(__name__)

DRAFT_S = 86_400.0


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
        keep = keep or run(session, SQL["read_keep"], bundle=name).scalar() or release_policy.KEEP
        known = _list_known(session, name)
        kept = retention_rules.judge(known, keep, datetime.now(UTC))
        going = [one.id for one in known if one.id not in kept]
        if dry:
            parses = int(run(session, SQL["count_old_parses"]).scalar())
            return Collected(kept, tuple(going), parses)
        run(session, SQL["hold"], releases=going)
        gone = tuple(sorted(release for (release,) in run(session, SQL["mark"], releases=going, unfinished=UNFINISHED)))
    _remove_archives(name)
    remove_folders(name)
    with metadata_db.open_session() as session:
        parses = run(session, SQL["delete_old_parses"]).rowcount
    if gone or parses:
        log.info("%s: removed %s releases and %s parse results", name, len(gone), parses)
    return Collected(kept, gone, parses)


def _list_known(session: Any, name: str) -> list[KnownRelease]:  # noqa: ANN401 - sqlalchemy.orm.Session
    rows = [row._mapping for row in run(session, SQL["list_known"], bundle=name, unfinished=UNFINISHED)]
    counted = run(session, SQL["count_runs"], releases=[row["id"] for row in rows])
    runs = {row.bundle_version: row.runs for row in counted}
    return [KnownRelease(**row, unfinished_runs=runs.get(row["id"], 0)) for row in rows]


def _remove_archives(name: str) -> None:
    with metadata_db.open_session() as session:
        left = list(run(session, SQL["list_left"], bundle=name))
    for row in left:
        with metadata_db.open_session() as session:
            # A process that builds the same files again now either holds the lock first, and the row is in use again,
            # or it stores the archive again after this transaction.
            run(session, SQL["lock"], lock=COLLECT_LOCK)
            if not run(session, SQL["is_left"], id=row.id).first():
                continue
            try:
                if row.location != archive_store.DATABASE:
                    archive_store.remove(row.location)
            except archive_store.ArchiveStoreError as error:
                log.warning("cannot remove an archive now, trying again later: %s", one_line(error))
                continue
            run(session, SQL["forget_place"], id=row.id)


def remove_folders(name: str) -> None:
    """Remove from this host the folders of collected releases, whichever host collected them."""
    versions = config.storage_root() / name / "versions"
    with metadata_db.open_session() as session:
        gone = {release for (release,) in run(session, SQL["list_gone"], bundle=name)}
    for release in gone:
        if (versions / release).is_dir():
            release_files.tombstone(versions, release).touch()
            release_archive.discard(versions / release)
    for draft in versions.glob(".r*"):
        if draft.is_dir() and time.time() - draft.stat().st_mtime > DRAFT_S:
            release_archive.discard(draft)
