"""Choose the move between two versions of Airflow from what a fleet runs and what was requested. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.version import Version

from airfleet.components.host_model import Stage
from airfleet.errors import UsageError
from airfleet.runners.fleet.plan.steps import Bring, Step, Unpack
from airfleet.spec.fleet import Fleet
from airfleet.workspace.airflow_version import Running

NOW = "airfleet upgrade"


@dataclass(frozen=True, slots=True)
class VersionMove:
    """The move of a fleet between two versions. `is_begun` means that some hosts may run the new version already."""

    before: str
    after: str
    is_begun: bool = False
    backup: str = ""

    @property
    def is_back(self) -> bool:
        return Version(self.after) < Version(self.before)

    @property
    def begun(self) -> Running:
        """Return the record to keep during the move."""
        return Running(self.before, target=self.after, backup=self.backup)

    @property
    def done(self) -> Running:
        """Return the record to keep when every host has moved."""
        return Running(self.after, before=self.before, backup=self.backup)


def choose(running: Running, known: Sequence[str], *, to: str | None, back: bool) -> VersionMove | None:
    """Return the requested move, or the move that was interrupted, or None if there is nothing to do.

    Raises:
        UsageError: The version is not known, another move is under way, or there is no earlier version.
    """
    if running.target:
        return _go_on(running, to=to, back=back)
    if back:
        to = _find_earlier(running, known)
    after = to or known[-1]
    if after not in known:
        raise UsageError(
            f"this airfleet does not know Airflow {after}", where="--to", hint=f"one of {', '.join(known)}"
        )
    return None if after == running.version else VersionMove(running.version, after)


def _go_on(running: Running, *, to: str | None, back: bool) -> VersionMove:
    if back or to == running.version:
        # Some hosts may run the new version already, and move back. The schema may have moved too.
        return VersionMove(running.target, running.version, is_begun=True)
    if to in (None, running.target):
        return VersionMove(running.version, running.target, is_begun=True, backup=running.backup)
    raise UsageError(
        f"this fleet is moving from Airflow {running.version} to {running.target}",
        where="--to",
        hint=f"`{NOW}` continues the move, `{NOW} --back` reverses it",
    )


def _find_earlier(running: Running, known: Sequence[str]) -> str:
    now = Version(running.version)
    if running.before and Version(running.before) < now:
        return running.before
    earlier = [version for version in known if Version(version) < now]
    if not earlier:
        raise UsageError(
            f"this airfleet knows no version before Airflow {running.version}",
            where="--back",
            hint="for an earlier version, install the airfleet that ran it, and restore a backup of that time with it",
        )
    return earlier[-1]


def describe(move: VersionMove, fleet: Fleet, *, drain_s: float) -> tuple[str, ...]:
    """Return a line for each part of the move, in order."""
    begun = " (continues an interrupted move)" if move.is_begun else ""
    webs, schedulers, workers = (_list(fleet, role) for role in ("web", "scheduler", "worker"))
    serve = [
        f"web hosts, one at a time behind the balancers: {webs}",
        f"schedulers, standbys first; the active one hands over and restarts last: {schedulers}",
    ]
    work = [
        f"workers, one of each pool at a time; their running tasks end first, {drain_s:g} s at most: {workers}",
    ]
    # An api-server serves workers of its own version and of older versions.
    rolling = [*work, *serve] if move.is_back else [*serve, *work]
    backup = f"{'keep the backup that was made' if move.backup else 'back it up'}, on {fleet.primary.name}"
    if fleet.database:
        backup = "its owner has backed it up"
    return (
        f"{fleet.name}: Airflow {move.before} to {move.after}{begun}",
        "packages: unpack them beside the running ones",
        f"database: {backup}",
        "schema: migrate it if the versions differ; schedulers and api-servers then stop, and tasks wait",
        *rolling,
        "no step interrupts a task" + ("" if move.is_back else f"; the way back: {NOW} --back"),
    )


def _list(fleet: Fleet, role: str) -> str:
    return ", ".join(host.name for host in fleet.hosts if role in host.roles)


def take_unpacking(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps of a host that affect no running process."""
    return tuple(step for step in steps if isinstance(step.action, Unpack))


def take_workers(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps of a host that move only its workers to the new packages."""
    return tuple(
        step
        for step in steps
        if step.stage == Stage.BASE or (isinstance(step.action, Bring) and step.action.service.drains)
    )
