"""`airfleet up`: start, supervise and show one whole platform on this machine."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from airfleet.cli import options, view
from airfleet.cli.environment import enter
from airfleet.components.metadata import ADMIN
from airfleet.errors import AirfleetError
from airfleet.runners.local import launch as launching
from airfleet.runners.local.supervision import describe_exit
from airfleet.runners.local.supervisor import Supervisor
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import digest_settings, find_project, find_state, note_start, read_fleet
from airfleet.workspace.state_folder import Snapshot, StateFolder


@click.command("up", short_help="Start a whole platform on this machine.")
@options.project
@options.state
@click.option("--detach", is_flag=True, help="Return when everything is healthy. `airfleet down` stops the platform.")
@click.option("--port", type=click.IntRange(1024, 65535), help="The port of UI and API, instead of `ports.api`.")
@click.option("--monitor", is_flag=True, help="Run Prometheus and Alertmanager too. They must be installed.")
@click.option(
    "--drain", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds for running tasks at a stop."
)
def command(project: Path, state: Path | None, detach: bool, port: int | None, monitor: bool, drain: float) -> None:
    """Start, supervise and show one whole platform: PostgreSQL, api-server, scheduler, dag-processor, triggerer.

    The command needs neither root nor Docker. It stays in the foreground until Ctrl-C. All data is in the state
    folder, so the next `up` continues from there, even after a crash.

    \b
    Example:
      airfleet up examples/flights
      airfleet up --detach --port 8081
      airfleet up --monitor
    """
    project = find_project(project)
    digest = digest_settings(project)  # before it is read: who saves it meanwhile has another one
    fleet = read_fleet(project)
    enter(project, fleet, state)
    folder = find_state(project, state)
    folder.create()
    is_new = not _password_file(folder).exists()

    def supervise() -> None:
        announce = is_new and not detach
        _supervise(fleet, project, folder, digest, port=port, monitor=monitor, drain_s=drain, announce=announce)

    if not detach:
        supervise()
        return
    with folder.lock():  # refused here, where the user sees it
        pass
    snapshot = _start_daemon(supervise, folder)
    click.echo(f"{snapshot.fleet} is up: {snapshot.url}", err=True)
    click.echo(_describe_login(folder, is_new), err=True)


def _supervise(
    fleet: Fleet,
    project: Path,
    folder: StateFolder,
    digest: str,
    *,
    port: int | None,
    monitor: bool,
    drain_s: float,
    announce: bool,
) -> None:
    with folder.lock():
        launch = launching.prepare(fleet, project, folder, drain_s=drain_s, port=port, monitor=monitor, warn=_warn)
        note_start(folder, fleet, digest)
        if announce:
            click.echo(_describe_login(folder, True), err=True)
        supervisor = Supervisor(launch, folder)
        with view.show(folder) as notify:
            supervisor.run(notify)
    if supervisor.hopeless:
        raise AirfleetError(
            f"{supervisor.hopeless} does not start, so the whole platform was stopped",
            where=str(folder.logs / f"{supervisor.hopeless}.log"),
            hint="its last lines:\n" + view.tail(folder, supervisor.hopeless),
        )


def _start_daemon(supervise: Callable[[], None], folder: StateFolder) -> Snapshot:
    """Start the platform under a supervisor process and return when it is healthy. Raises the supervisor's error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(_run_daemon(supervise, folder.logs / "airfleet.log", writer))
    os.close(writer)
    with view.progress("starting", ("healthy", "done")) as advance:
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            snapshot = folder.read_snapshot()
            if snapshot and snapshot.supervisor == child:
                advance(snapshot)
                if snapshot.phase == "healthy":
                    os.close(reader)
                    return snapshot
            time.sleep(0.1)
    code = os.waitstatus_to_exitcode(status)
    with os.fdopen(reader) as pipe:
        ended = f"the supervisor {describe_exit(code)}; `airfleet up` starts it again"
        click.echo(f"airfleet: {pipe.read() or ended}", err=True)
    # As a shell says which signal ended a command.
    raise SystemExit(128 - code if code < 0 else code or 1)


def _run_daemon(supervise: Callable[[], None], log: Path, writer: int) -> int:
    """Detach from the terminal and supervise. Errors go to the waiting command and the log. Returns the exit code."""
    os.setsid()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, descriptor in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(source, descriptor)
    try:
        supervise()
    except Exception as error:
        text = str(error) if isinstance(error, AirfleetError) else traceback.format_exc()
        click.echo(f"airfleet: {text}", err=True)
        with suppress(BrokenPipeError):
            os.write(writer, text.encode())
        return error.exit_code if isinstance(error, AirfleetError) else 1
    return 0


def _describe_login(folder: StateFolder, is_new: bool) -> str:
    file = _password_file(folder)
    # If stderr is not a terminal, it is a file or the log of a CI system, which would keep the password.
    if is_new and sys.stderr.isatty():
        return f"log in as {ADMIN} with password {file.read_text()} (shown this once, kept in {file})"
    return f"log in as {ADMIN} with the password in {file}"


def _warn(text: str) -> None:
    click.echo(f"airfleet: {text}", err=True)


def _password_file(folder: StateFolder) -> Path:
    return folder.secrets / "admin_password"
