"""The releaser: makes releases live one at a time, in the order of the requests.

If the releaser dies at any line, the next releaser repeats the unfinished deployment from its start.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from airfleet_provider.access import outside_tasks
from airfleet_provider.access.known_lists import open_lists
from airfleet_provider.bundles import release_files
from airfleet_provider.compat.calls import config, dag_publishing, metadata_db, parsing
from airfleet_provider.contract import archive_store, release_archive, release_schema
from airfleet_provider.contract.locks import AGENT_LOCK
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.release_schema import AUTOMATIC_ACTOR, DeploymentAction, DeploymentState
from airfleet_provider.contract.text import one_line
from airfleet_provider.database import run
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.releases import (
    canary,
    deployments,
    folder_sync,
    import_graph,
    parse_cache,
    parse_times,
    reparse_requests,
    retention,
)
from airfleet_provider.releases.deployments import DeploymentRefusedError, QueuedDeployment
from airfleet_provider.releases.parser_process import Parser
from airfleet_provider.releases.publish import Published, PublishedRelease, publish

log = logging.getLogger(__name__)

WAIT_S = 30.0
# Threshold of the garbage collector: parsing a release creates many objects and little garbage.
GARBAGE = 50_000
MEMORY_FILES = 20_000
NOTE_PARSED = """
UPDATE airfleet.release SET keys = %(keys)s, dags = %(dags)s
WHERE id = %(id)s AND (keys, dags) IS DISTINCT FROM (%(keys)s::text[], %(dags)s::jsonb)
"""
# Runs in flight may have lost the files they began with, with the disk of this host.
LIST_NEEDED = """
SELECT bundle, id FROM airfleet.release WHERE collected_at IS NULL
    AND id IN (SELECT bundle_version FROM dag_run WHERE state IN ('queued', 'running'))
"""
READ_POINTER = "SELECT live, previous, moved_at = now() AS is_moved FROM airfleet.pointer WHERE bundle = %(bundle)s"
WAS_MOVED = """
SELECT 1 FROM airfleet.pointer WHERE bundle = %(bundle)s AND (live <> %(release)s OR moved_at = now())
"""


@dataclass(slots=True)
class ReleaseAgent:
    """The work of the releaser; `work` calls it and waits between the calls."""

    has_fab_roles: bool
    parser: Parser
    now: Callable[[], float] = time.monotonic
    due: dict[tuple[str, str, str], float] = field(default_factory=dict)
    # Bundles with a new release, whose old releases `tidy` has yet to remove.
    crowded: set[str] = field(default_factory=set)
    memory: dict[object, import_graph.Imports] = field(default_factory=dict)
    environment: str = field(default_factory=config.describe_environment)
    inspected: parse_cache.UnpackedRelease | None = None
    followed: frozenset[str] = frozenset()
    looks_next: float = float("-inf")

    def step(self) -> bool:
        """Carry out the oldest unfinished deployment; return whether there was one.

        A deployment that raises is recorded as failed.
        """
        deployment = deployments.find_next()
        if deployment is None:
            return False
        started = self.now()
        try:
            if deployment.action == DeploymentAction.PRUNE:
                self._prune(deployment)
            else:
                self._deploy(deployment, started)
        except DeploymentRefusedError as refusal:
            deployments.fail(deployment, refusal.detail)
        except Exception as error:
            log.exception("deployment %s failed", deployment.id)
            deployments.fail(deployment, {"message": f"{type(error).__name__}: {error}"})
        return True

    def _deploy(self, deployment: QueuedDeployment, started: float) -> None:
        if deployment.bundle in self.followed and not deployment.is_check:
            raise DeploymentRefusedError("this platform publishes its project's folder, so no release can go live")
        name = deployment.release or deployments.choose_previous(deployment)
        deployments.enter(deployment, name, DeploymentState.PARSING)
        release = self.unpack(deployment.bundle, name)
        unpacked = self.now()
        found = parse_cache.collect(release, self.parser, twice=deployment.is_check)
        fresh = found.parsed
        # A file may have failed only because a variable or a host was missing at that time, so a cached error is
        # parsed again. A cached success is not.
        if doubtful := [path for path, one in found.summaries.items() if one["error"] and path not in fresh]:
            found = parse_cache.collect(release, self.parser, again=doubtful)
            fresh |= found.parsed
        errors = found.errors()
        parsed = self.now()
        with metadata_db.open_session() as session:
            dags = {dag.dag_id: {"path": dag.path, "hash": dag.hash} for dag in found.dags()}
            keys = sorted({*found.keys.values(), *release.codes.values()})
            run(session, NOTE_PARSED, id=name, keys=keys, dags=json.dumps(dags))
        if deployment.is_check:
            detail = {"keys": dict(found.keys), "parsed": len(fresh), "seconds": {"parse": round(parsed - unpacked, 3)}}
            deployments.finish(deployment, detail)
            return
        if errors and not deployment.allows_errors:
            listed = [{"path": path, "error": text} for path, text in sorted(errors.items())]
            raise DeploymentRefusedError(f"{len(errors)} Dag files do not load", errors=listed, parsed=len(fresh))
        deployments.enter(deployment, name, DeploymentState.PUBLISHING)
        with metadata_db.open_session() as session:
            before = {
                "broken_before": canary.list_broken(session, deployment.bundle),
                "last_run": canary.find_last_run(session),
            }

        def finish(session: Any, published: Published) -> None:  # noqa: ANN401 - sqlalchemy.orm.Session
            if deployments.is_overtaken(session, deployment):
                raise DeploymentRefusedError("a later deployment of the same bundle is done already")
            pointer = run(session, READ_POINTER, bundle=deployment.bundle).one()
            previous = pointer.previous
            if previous and release_archive.is_same(previous, name):  # a rollback to it would change nothing
                previous = deployments.find_previous(session, deployment.bundle)
            detail = {
                **before,
                "previous": previous,
                "gone": published.gone,
                "parsed": len(fresh),
                "cached": len(found.summaries) - len(fresh),
                "dags": published.count(),
                "errors": [{"path": path, "error": text} for path, text in sorted(errors.items())],
                "seconds": {
                    "unpack": round(unpacked - started, 3),
                    "parse": round(parsed - unpacked, 3),
                    "publish": round(self.now() - parsed, 3),
                },
            }
            is_watched = pointer.is_moved and previous and deployment.watch_seconds > 0
            recorded = deployments.go_live(
                session, deployment, detail, is_moved=pointer.is_moved, is_watched=bool(is_watched)
            )
            if not recorded:
                raise DeploymentRefusedError("another releaser has finished this deployment")

        try:
            release_files.offer(deployment.bundle, name)
        except archive_store.ArchiveStoreError as error:
            raise DeploymentRefusedError(str(error)) from error
        self._publish(release, found, deployment.actor, deployment.reason, finish)
        log.info("%s of %s is live: deployment %s", release_archive.shorten(name), deployment.bundle, deployment.id)
        release_files.point(config.storage_root() / deployment.bundle, name)
        self.plan(release)
        self.crowded.add(deployment.bundle)

    def _prune(self, deployment: QueuedDeployment) -> None:
        asked = deployment.detail.get("policy", {}).get("keep")
        found = retention.collect(deployment.bundle, keep=asked, dry=bool(deployment.detail.get("dry")))
        deployments.finish(deployment, found.to_json())

    def tidy(self) -> None:
        """Remove the old releases of bundles that have a new release; log errors and never raise."""
        while self.crowded:
            name = self.crowded.pop()
            try:
                retention.collect(name)
            except Exception:
                log.exception("cannot remove old releases of %s now", name)

    def _publish(
        self,
        release: parse_cache.UnpackedRelease,
        found: parse_cache.ParseResults,
        actor: str | None,
        reason: str | None,
        finish: Callable[[Any, Published], None],
    ) -> None:
        whole = PublishedRelease(
            bundle=release.bundle,
            id=release.id,
            folder=release.folder,
            dags=found.dags(),
            errors=found.errors(),
            actor=actor,
            reason=reason,
        )
        publish(whole, found.load, finish, has_fab_roles=self.has_fab_roles)

    def unpack(self, name: str, release: str) -> parse_cache.UnpackedRelease:
        """Return a release on this host; fetch its files if they are not here yet.

        Raises:
            DeploymentRefusedError: the files cannot be fetched, or are corrupt.
        """
        try:
            place = release_files.have(name, release)
        except (LookupError, release_archive.CorruptError, archive_store.ArchiveStoreError) as error:
            raise DeploymentRefusedError(str(error)) from error
        if self.inspected and (self.inspected.bundle, self.inspected.id) == (name, release):
            return self.inspected  # the deployment of a release usually follows its check
        if len(self.memory) > MEMORY_FILES:
            self.memory.clear()
        self.inspected = parse_cache.inspect(name, release, place, self.environment, self.memory)
        return self.inspected

    def plan(self, release: parse_cache.UnpackedRelease) -> None:
        """Schedule the files of the live release that declare a parse interval."""
        self.due = {key: at for key, at in self.due.items() if key[0] != release.bundle}
        for path, seconds in release.intervals.items():
            self.due[release.bundle, release.id, path] = self.now() + seconds

    def resume(self) -> None:
        """After a start: make this host's links and parse schedule match the live releases.

        Also fetch the releases of unfinished runs: this host may have lost its disk.
        """
        with metadata_db.open_session() as session:
            needed = [(row.bundle, row.id) for row in run(session, LIST_NEEDED)]
            pointers = [(row.bundle, row.live) for row in run(session, "SELECT bundle, live FROM airfleet.pointer")]
        for name, release_id in needed:
            with contextlib.suppress(LookupError, release_archive.CorruptError, archive_store.ArchiveStoreError):
                release_files.have(name, release_id)
        for name, live in pointers:
            if name in self.followed:
                continue
            with contextlib.suppress(DeploymentRefusedError):
                release = self.unpack(name, live)
                release_files.point(config.storage_root() / name, live)
                self.plan(release)

    def ask(self, name: str, path: str) -> None:
        """Schedule a file of the live release to be parsed again at the next `tick`."""
        with metadata_db.open_session() as session:
            live = run(session, "SELECT live FROM airfleet.pointer WHERE bundle = %(bundle)s", bundle=name).scalar()
        if live:
            self.due[name, live, path] = self.now()

    def tick(self) -> None:
        """Parse again the files that are due; publish the result if it changed and adds no import error.

        Raises:
            DeploymentRefusedError: the live release cannot be fetched, or another release is live by now.
        """
        ripe = {key for key, at in self.due.items() if at <= self.now()}
        for name, live in {(name, live) for name, live, _ in ripe}:
            paths = [path for bundle_name, release_id, path in ripe if (bundle_name, release_id) == (name, live)]
            for path in paths:  # first of all: if fetching the release fails, the next attempt comes WAIT_S later
                self.due[name, live, path] = self.now() + WAIT_S
            release = self.unpack(name, live)
            before = parse_cache.collect(release, self.parser)
            after = parse_cache.collect(release, self.parser, again=paths)
            for path in paths:
                del self.due[name, live, path]
                if path in release.intervals:
                    self.due[name, live, path] = self.now() + release.intervals[path]
            if broken := after.errors().keys() - before.errors().keys():
                listed = one_line(", ".join(sorted(broken)), 2000)
                log.warning("%s: the live Dags stay, because these files do not load now: %s", name, listed)
            elif before.hashes() != after.hashes() or before.errors() != after.errors():
                self._republish(release, after)

    def look_after(self) -> None:
        """Keep the live Dags in Airflow's tables; publish a release again if some of its Dags were removed.

        Does so at most every `parse_times.EVERY_S` seconds.

        Raises:
            DeploymentRefusedError: the live release cannot be fetched, or another release is live by now.
        """
        if self.now() < self.looks_next:
            return
        self.looks_next = self.now() + parse_times.EVERY_S
        with metadata_db.open_session() as session:
            pointers = [(row.bundle, row.live) for row in run(session, "SELECT bundle, live FROM airfleet.pointer")]
        for name, live in pointers:
            if name in self.followed:
                continue
            with metadata_db.open_session() as session:
                parse_times.refresh(session, name)
                missing = parse_times.list_missing(session, name, parse_times.list_live(session, name))
            if missing:
                log.warning("%s: Airflow lost these Dags, publishing them again: %s", name, ", ".join(missing))
                release = self.unpack(name, live)
                self._republish(release, parse_cache.collect(release, self.parser))

    def _republish(self, release: parse_cache.UnpackedRelease, found: parse_cache.ParseResults) -> None:
        def finish(session: Any, _: Published) -> None:  # noqa: ANN401 - sqlalchemy.orm.Session
            # `publish` leaves the pointer alone if it names this release already. If it moved the pointer, another
            # release had gone live: stop the transaction.
            if run(session, WAS_MOVED, bundle=release.bundle, release=release.id).first():
                raise DeploymentRefusedError("another release is live by now")

        self._publish(release, found, AUTOMATIC_ACTOR, "published again automatically", finish)


def work(releaser: ReleaseAgent, loops: list[folder_sync.DevelopLoop], connection: Any) -> NoReturn:  # noqa: ANN401 - of psycopg2
    """Carry out deployments as they come, for ever.

    A notification wakes the loop. Without a notification, the loop polls every `WAIT_S` seconds, or more often while a
    release is watched, a file is due or a folder is followed.
    """
    cursor = connection.cursor()
    cursor.execute(f"LISTEN {release_schema.CHANNEL}")
    releaser.resume()
    while True:
        while releaser.step():
            pass
        for name, path in reparse_requests.take():
            for loop in loops:
                loop.follower.ask(name, path)
            if name not in releaser.followed:
                releaser.ask(name, path)
        releaser.tidy()
        for chore in (releaser.tick, releaser.look_after):
            try:
                chore()
            except DeploymentRefusedError as refusal:
                log.warning("tried again later: %s", one_line(refusal, 2000))
        try:
            is_watching = canary.step()
        except Exception:
            log.exception("cannot watch the live releases; checking again later")
            is_watching = True
        for loop in loops:
            loop.turn()
        soonest = min(releaser.due.values(), default=float("inf")) - releaser.now()
        longest = canary.EVERY_S if is_watching else WAIT_S
        waits = [longest, max(0.0, soonest), *(loop.wait_s() for loop in loops)]
        wait_readable([connection, *(loop for loop in loops if loop.watches)], min(waits))
        connection.poll()
        connection.notifies.clear()


def main() -> NoReturn:
    """Run the releaser; first wait until no other releaser of this platform holds the lock."""
    has_fab_roles = dag_publishing.prepare_publisher()
    parsing.seal_memory()
    parser = Parser(check=functools.partial(outside_tasks.check_file, open_lists()))
    loops = folder_sync.find_loops(parser, has_fab_roles=has_fab_roles)
    if loops:
        parser.start()  # a folder is parsed at every start, so let the parser import Airflow in the background
    gc.freeze()  # forked children share the memory of everything imported so far
    gc.set_threshold(GARBAGE)
    connection = metadata_db.connect()
    cursor = connection.cursor()
    runner.migrate(runner.execute_on(connection), runner.read_own())
    cursor.execute("SELECT pg_advisory_lock(%s)", (AGENT_LOCK,))
    followed = frozenset(loop.follower.bundle for loop in loops)
    work(ReleaseAgent(has_fab_roles, parser, followed=followed), loops, connection)


def run_command(_: object) -> NoReturn:
    """`airflow airfleet releaser`."""
    main()
