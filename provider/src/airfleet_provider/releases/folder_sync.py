"""The develop loop: publishes the project's folder a moment after a file was saved.

Parses only the files whose contents, imports or read files have changed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airfleet_provider.compat.calls import config, metadata_db
from airfleet_provider.contract import fallbacks, release_archive
from airfleet_provider.database import run
from airfleet_provider.releases import import_graph, parse_cache, parse_times
from airfleet_provider.releases.file_watcher import FileWatcher
from airfleet_provider.releases.parser_process import Parser
from airfleet_provider.releases.publish import NotStoredError, Published, PublishedRelease, publish

log = logging.getLogger(__name__)

# The second is the former name, which an airflow.cfg of an earlier airfleet has.
CLASSPATHS = ("airfleet_provider.bundles.folder_bundle.FolderBundle", "airfleet_provider.bundle.FolderBundle")
# An editor that replaces a file removes it for a moment: a missing file is checked again after this time.
AWAY_S = 0.3
# The kernel reports no changes that another machine makes to a shared folder: poll every LOOK_S. If the watcher does
# not run, the kernel reports nothing: poll every LOOK_UNTOLD_S.
LOOK_S, LOOK_UNTOLD_S = 30.0, 2.0
# A watcher that ends within this time would probably end again.
SOON_S = 10.0
MEMORY_FILES = 20_000
FORGET = "DELETE FROM airfleet.parsed WHERE key = ANY(%(keys)s::text[])"


@dataclass(slots=True)
class FolderSync:
    """Keeps Airflow's tables equal to the files in one project's folder."""

    bundle: str
    project: Path
    has_fab_roles: bool
    parser: Parser
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    memory: dict[object, import_graph.Imports] = field(default_factory=dict)
    environment: str = field(default_factory=config.describe_environment)
    # None before the first publish: after a start every file is parsed, with the current variables and packages.
    published: parse_cache.UnpackedRelease | None = None
    keys: frozenset[str] = frozenset()
    due: dict[str, float] = field(default_factory=dict)
    dags: frozenset[str] = frozenset()
    looks_next: float = float("-inf")

    def follow(self) -> None:
        """Publish the folder as it is now.

        Does nothing if the folder is the one published last, no file is due, and Airflow's tables lack no Dag.
        """
        while True:
            folder = self._inspect()
            ripe = {path for path, at in self.due.items() if at <= self.now()}
            if self.published and _is_same(folder, self.published) and not ripe and not self._has_lost():
                return
            started = self.now()
            found = self._collect(folder, ripe if self.published else folder.codes)
            if not found.parsed or release_archive.look(self.project).tree.digests() == folder.digests:
                break
            # A file was saved during the parse, so a result may belong to either content: parse again.
            forget(found.keys[path] for path in found.parsed)
        published = self._publish(folder, found)
        self._note(folder, found)
        counts = ", ".join(f"{what} {number}" for what, number in published.count().items())
        took = self.now() - started
        log.info("published %s: %s, parsed %d in %.2f s", self.bundle, counts, len(found.parsed), took)

    def _collect(self, folder: parse_cache.UnpackedRelease, again: Iterable[str]) -> parse_cache.ParseResults:
        found = parse_cache.collect(folder, self.parser, again=again)
        # A file with a cached error may have failed only because a variable or a host was missing at that time.
        doubtful = [path for path, one in found.summaries.items() if one["error"] and path not in found.parsed]
        if not doubtful:
            return found
        anew = parse_cache.collect(folder, self.parser, again=doubtful)
        return parse_cache.ParseResults(anew.summaries, anew.keys, found.parsed | anew.parsed)

    def ask(self, bundle: str, path: str) -> None:
        """Schedule a file to be parsed again in the next `follow`."""
        if bundle == self.bundle:
            self.due[path] = self.now()

    def wait_s(self) -> float:
        """Return the seconds until the next file is due, or `LOOK_S` if no file declares an interval."""
        return min((at - self.now() for at in self.due.values()), default=LOOK_S)

    def _has_lost(self) -> bool:
        """Return whether published Dags are missing in Airflow's tables; renew the parse times of the others."""
        if self.now() < self.looks_next:
            return False
        self.looks_next = self.now() + parse_times.EVERY_S
        with metadata_db.open_session() as session:
            parse_times.refresh(session, self.bundle)
            missing = parse_times.list_missing(session, self.bundle, self.dags)
        if missing:
            log.warning("%s: Airflow lost these Dags, publishing them again: %s", self.bundle, ", ".join(missing))
        return bool(missing)

    def _inspect(self) -> parse_cache.UnpackedRelease:
        folder = self._read()
        if self.published and self.published.codes.keys() - folder.codes.keys():
            self.sleep(AWAY_S)
            folder = self._read()
        return folder

    def _read(self) -> parse_cache.UnpackedRelease:
        if len(self.memory) > MEMORY_FILES:
            self.memory.clear()
        # A Dag may contain the path of its file, so results of this folder are never used for another folder.
        environment = f"{self.environment}, in {self.project}"
        return parse_cache.inspect(self.bundle, "", self.project, environment, self.memory)

    def _publish(self, folder: parse_cache.UnpackedRelease, found: parse_cache.ParseResults) -> Published:
        refused = {path: f"{path} {why}\nhint: {release_archive.HINT}" for path, why in folder.refused.items()}
        errors = {**found.errors(), **refused}
        while True:
            release = PublishedRelease(
                bundle=self.bundle,
                id=None,
                folder=self.project,
                dags=tuple(dag for dag in found.dags() if dag.path not in errors),
                errors=errors,
                actor=None,
                reason=None,
            )
            try:
                published = publish(release, found.load, lambda *_: None, has_fab_roles=self.has_fab_roles)
                self.dags = frozenset(dag.dag_id for dag in release.dags)
                return published
            except NotStoredError as refusal:
                errors = {**errors, **refusal.errors}

    def _note(self, folder: parse_cache.UnpackedRelease, found: parse_cache.ParseResults) -> None:
        keys = frozenset({*found.keys.values(), *folder.codes.values()})
        forget(self.keys - keys)
        self.published, self.keys = folder, keys
        self.due = {
            path: self.now() + seconds if path in found.parsed else self.due.get(path, self.now() + seconds)
            for path, seconds in folder.intervals.items()
        }


@dataclass(slots=True)
class DevelopLoop:
    """A `FolderSync` and the watcher that wakes it."""

    follower: FolderSync
    watcher: FileWatcher
    now: Callable[[], float] = time.monotonic
    started: float = float("-inf")
    watches: bool = False

    def fileno(self) -> int:
        """Return the descriptor that becomes readable after a change; valid only while `watches` is true."""
        return self.watcher.fileno()

    def turn(self) -> None:
        """Publish the folder if it has changed; log an error and leave it to the next call."""
        if self.watches and not self.watcher.drain():
            self.watches = False
            if self.now() - self.started < SOON_S:
                reason = f"cannot watch {self.follower.project}: checking it every {LOOK_UNTOLD_S:.0f} s"
                fallbacks.open_counter(fallbacks.FOLDER_WATCH, os.environ).fell_back(reason)
        if not self.watches and self.now() - self.started > SOON_S:
            self.watcher.start()
            self.watches, self.started = True, self.now()
        try:
            self.follower.follow()
        except Exception:
            log.exception("%s was not published", self.follower.project)

    def wait_s(self) -> float:
        """Return the seconds to wait if no change wakes the loop."""
        return max(0.0, min(LOOK_S if self.watches else LOOK_UNTOLD_S, self.follower.wait_s()))


def find_loops(parser: Parser, *, has_fab_roles: bool) -> list[DevelopLoop]:
    """Return one loop for each configured bundle that is a project's folder."""
    bundles: list[dict[str, Any]] = json.loads(config.read_setting("dag_processor", "dag_bundle_config_list", "[]"))
    folders = [(one["name"], Path(one["kwargs"]["path"])) for one in bundles if one["classpath"] in CLASSPATHS]
    followers = [FolderSync(name, project, has_fab_roles, parser) for name, project in folders]
    return [DevelopLoop(follower, FileWatcher(follower.project, release_archive.FOLDERS)) for follower in followers]


def _is_same(one: parse_cache.UnpackedRelease, other: parse_cache.UnpackedRelease) -> bool:
    return one.digests == other.digests and one.refused == other.refused


def forget(keys: Iterable[str]) -> None:
    """Remove parse results from the cache."""
    if gone := list(keys):
        with metadata_db.open_session() as session:
            run(session, FORGET, keys=gone)
