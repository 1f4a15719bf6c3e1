"""The state of a platform on one machine, as text for a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from airfleet.cli.console import open_console
from airfleet.errors import AirfleetError
from airfleet.runners.local.usage import ResourceUsage, measure
from airfleet.workspace.project import has_releases
from airfleet.workspace.state_folder import BrokenFile, Snapshot, StateFolder
from airfleet_provider.contract import release_archive, wording

if TYPE_CHECKING:
    from airfleet.runners.local.platform_reader import PlatformReader
    from airfleet_provider.contract.release_list import Deployment

Notify = Callable[[Snapshot], None]

STYLES = {
    "healthy": "green",
    "done": "green",
    "unhealthy": "red",
    "restarting": "red",
    "degraded": "red",
    "stopped": "dim",
}
LOOK_EVERY_S = 3.0
READ_EVERY_S = 0.5


@contextmanager
def show(folder: StateFolder) -> Iterator[Notify]:
    """Show a live table on a terminal, otherwise one line for each event. Both also go to logs/airfleet.log."""
    terminal = open_console(stderr=True)
    log = (folder.logs / "airfleet.log").open("a") if terminal.is_terminal else None
    events, extras = Events(), Extras(folder, shows_release=terminal.is_terminal)

    def write(snapshot: Snapshot) -> None:
        for line in (*events.list_new(snapshot), *events.list_loading(extras.read_errors(snapshot))):
            terminal.print(line, highlight=False, markup=False)
            if log:
                log.write(line + "\n")
                log.flush()

    if not terminal.is_terminal:
        yield write
        return
    with Live(console=terminal, refresh_per_second=4) as live:

        def update(snapshot: Snapshot) -> None:
            write(snapshot)
            live.update(tabulate(snapshot, extras.read_usage(snapshot), extras.errors, extras.release))

        yield update
    if log:
        log.close()


@contextmanager
def progress(doing: str, settled: tuple[str, ...], since: Snapshot | None = None) -> Iterator[Notify]:
    """Show the processes that are still starting or stopping on a terminal, otherwise the events since a snapshot."""
    terminal = open_console(stderr=True)
    events = Events(since)
    if not terminal.is_terminal:

        def write(snapshot: Snapshot) -> None:
            for line in events.list_new(snapshot):
                terminal.print(line, highlight=False, markup=False)

        yield write
        return
    with terminal.status(doing) as status:

        def update(snapshot: Snapshot) -> None:
            waiting = [process.name for process in snapshot.processes if process.phase not in settled]
            status.update(f"{doing}: waiting for {', '.join(waiting)}")

        yield update


class Events:
    """Turns the differences between two successive snapshots into lines."""

    def __init__(self, since: Snapshot | None = None) -> None:
        self._seen: dict[str, tuple[str, int]] = {}
        self._phase = ""
        self._broken: dict[str, str] = {}
        if since:
            self.list_new(since)

    def list_new(self, snapshot: Snapshot) -> list[str]:
        lines = []
        now = datetime.now(UTC).strftime("%H:%M:%S")
        for process in snapshot.processes:
            state = (process.phase, process.restarts)
            if self._seen.get(process.name) != state and process.phase != "waiting":
                detail = f": {process.detail}" if process.detail else ""
                lines.append(f"{now} {process.name} {process.phase}{detail}")
            self._seen[process.name] = state
        if snapshot.phase != self._phase:
            lines.append(f"{now} platform {snapshot.phase}" + (f" at {snapshot.url}" * (snapshot.phase == "healthy")))
        self._phase = snapshot.phase
        return lines

    def list_loading(self, errors: list[BrokenFile]) -> list[str]:
        """Return a line for each Dag file that has stopped loading or loads again."""
        now = datetime.now(UTC).strftime("%H:%M:%S")
        broken = {error.file: error.message for error in errors}
        lines = [
            f"{now} {file} does not load: {message}"
            for file, message in broken.items()
            if self._broken.get(file) != message
        ]
        lines += [f"{now} {file} loads again, or was removed" for file in self._broken if file not in broken]
        self._broken = broken
        return lines


class Extras:
    """What the view shows besides the snapshot: memory, read every few seconds, and Dag files that do not load."""

    def __init__(self, folder: StateFolder, *, shows_release: bool) -> None:
        self._folder = folder
        self._shows_release = shows_release
        self._looked = 0.0
        self._usage: dict[str, ResourceUsage] = {}
        self._healthy = threading.Event()
        self._reader: threading.Thread | None = None
        self.errors: list[BrokenFile] = []
        self.release: Deployment | None = None

    def read_usage(self, snapshot: Snapshot) -> dict[str, ResourceUsage]:
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._usage = measure(snapshot)
            self._looked = time.monotonic()
        return self._usage

    def read_errors(self, snapshot: Snapshot) -> list[BrokenFile]:
        """Return the recent import errors. While the platform is unhealthy, return the last known ones."""
        if snapshot.phase == "healthy":
            self._healthy.set()
        else:
            self._healthy.clear()
        if self._reader is None and snapshot.phase == "healthy":
            # A thread of its own: a database that hangs must not keep the supervisor from ending it.
            self._reader = threading.Thread(target=self._keep_reading, name="import errors", daemon=True)
            self._reader.start()
        return self.errors

    def _keep_reading(self) -> None:
        reader = open_reader(self._folder)
        looked = 0.0
        while reader and self._healthy.wait():
            if (errors := reader.list_broken_files()) is not None:
                self.errors = errors
                if self._shows_release and time.monotonic() - looked > LOOK_EVERY_S:
                    self.release = find_release(reader, self._folder.read_snapshot())
                    looked = time.monotonic()
            time.sleep(READ_EVERY_S)
            if not self._healthy.is_set():
                reader.close()


def has_tables(snapshot: Snapshot) -> bool:
    """Return whether the database has its tables: PostgreSQL logs an error for each read of a table that is missing."""
    return any(process.name == "metadata" and process.phase == "done" for process in snapshot.processes)


def open_reader(folder: StateFolder) -> PlatformReader | None:
    """Return a reader of the database of a platform that has run before."""
    from airfleet.runners.local.platform_reader import PlatformReader  # noqa: PLC0415 - `up` begins before it needs this

    dsn = folder.read_dsn()
    return PlatformReader(dsn) if dsn else None


def find_release(reader: PlatformReader, snapshot: Snapshot | None) -> Deployment | None:
    """Return the deployment of the live release. None without releases, before the first one, or without a database."""
    try:
        if snapshot is None or not has_releases(Path(snapshot.project)):
            return None
    except AirfleetError:
        return None
    return reader.find_release(snapshot.fleet)


def describe_release(deployment: Deployment) -> str:
    """Describe the live release in one line: since when it is live, how long it is watched, and the watch's verdict."""
    now = datetime.now(UTC)
    since = wording.duration((now - deployment.live_at).total_seconds()) if deployment.live_at else "now"
    said = f": {deployment.opinion}" if deployment.opinion else ""
    if deployment.is_watched and deployment.watch_until:
        said = f", watched for {wording.duration(max(0.0, (deployment.watch_until - now).total_seconds()))} more"
    return f"{release_archive.shorten(deployment.release or '')} is live for {since}{said}"


def tabulate(
    snapshot: Snapshot,
    usage: dict[str, ResourceUsage],
    import_errors: list[BrokenFile],
    release: Deployment | None = None,
) -> Table:
    """Return the platform as a table. Finished jobs are left out."""
    table = Table(title=f"{snapshot.fleet}: {snapshot.phase}", title_justify="left", expand=False)
    for heading in ("component", "state", "pid", "memory", "up for", "restarts", "where"):
        table.add_column(heading, justify="right" if heading in ("pid", "memory", "up for", "restarts") else "left")
    now = time.time()
    for process in snapshot.processes:
        if process.phase == "done":
            continue
        style = STYLES.get(process.phase, "yellow")
        state = f"[{style}]{process.phase}[/]" + (f" ({escape(process.detail)})" if process.detail else "")
        memory = usage.get(process.name)
        table.add_row(
            process.name,
            state,
            str(process.pid or ""),
            f"{memory.memory_mib:.0f} MiB" if memory else "",
            wording.duration(now - process.since) if process.pid else "",
            str(process.restarts or ""),
            process.url,
        )
    remarks = [describe_release(release)] if release else []
    remarks += [f"{broken.file} does not load: {broken.message}" for broken in import_errors]
    if remarks:
        table.caption_justify = "left"
        table.caption = escape("\n".join(remarks))
    return table


def tail(folder: StateFolder, name: str, lines: int = 12) -> str:
    """Return the last lines of a component's log."""
    try:
        return "\n".join((folder.logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"
