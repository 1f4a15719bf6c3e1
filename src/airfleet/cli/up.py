"""`airfleet up`: start, supervise and show one whole platform on this machine."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

import click

from airfleet.cli import options, view
from airfleet.components.metadata import ADMIN
from airfleet.errors import AirfleetError
from airfleet.runners.local import launch as launching
from airfleet.runners.local.state import Snapshot, StateFolder
from airfleet.runners.local.supervisor import Supervisor


@click.command("up", short_help="Start a whole platform on this machine.")
@options.project
@options.state
@click.option("--detach", is_flag=True, help="Return when everything is healthy; `airfleet down` stops it.")
@click.option("--port", type=click.IntRange(1024, 65535), help="The port of UI and API, in place of fleet.yaml's.")
@click.option(
    "--drain", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds tasks are given at a stop."
)
def command(project: Path, state: Path | None, detach: bool, port: int | None, drain: float) -> None:
    """Start, supervise and show one whole platform: PostgreSQL, api-server, scheduler, dag-processor, triggerer.

    Needs no root and no Docker. Stays in the foreground until Ctrl-C. Everything is kept in the state folder, so the
    next `up` goes on where this one ended, however it ended.

    \b
    Example:
      airfleet up examples/flights
      airfleet up --detach --port 8081
    """
    project = launching.find_project(project)
    folder = launching.find_state(project, state)
    folder.create()
    is_new = not _password_file(folder).exists()
    if detach:
        _detach(project, folder, port, drain)
        click.echo(_describe_login(folder, is_new), err=True)
    else:
        _supervise(project, folder, port, drain, announce=is_new)


def _supervise(project: Path, folder: StateFolder, port: int | None, drain_s: float, *, announce: bool = False) -> None:
    with folder.lock():
        launch = launching.prepare(project, folder, drain_s=drain_s, port=port)
        if announce:
            click.echo(_describe_login(folder, True), err=True)
        supervisor = Supervisor(launch, folder)
        with view.show(folder) as notify:
            supervisor.run(notify)
    if supervisor.hopeless:
        raise AirfleetError(
            f"{supervisor.hopeless} does not start, so everything was stopped",
            where=str(folder.logs / f"{supervisor.hopeless}.log"),
            hint="its last lines:\n" + view.tail(folder, supervisor.hopeless),
        )


def _detach(project: Path, folder: StateFolder, port: int | None, drain_s: float) -> None:
    with folder.lock():
        pass
    log = folder.logs / "airfleet.log"
    size = log.stat().st_size if log.exists() else 0
    child = os.fork()
    if child == 0:
        _become_daemon(log)
        os._exit(_run_daemon(project, folder, port, drain_s))
    snapshot, code = _wait(child, folder)
    if snapshot is None:
        click.echo(log.read_bytes()[size:].decode(errors="replace").strip(), err=True)
        raise SystemExit(code or 1)
    click.echo(f"{snapshot.fleet} is up: {snapshot.url}", err=True)


def _become_daemon(log: Path) -> None:
    """Leave the terminal: a session of our own, nothing to read, the log to write to."""
    os.setsid()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, descriptor in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(source, descriptor)


def _run_daemon(project: Path, folder: StateFolder, port: int | None, drain_s: float) -> int:
    try:
        _supervise(project, folder, port, drain_s)
    except AirfleetError as error:
        click.echo(f"airfleet: {error}", err=True)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _wait(child: int, folder: StateFolder) -> tuple[Snapshot | None, int]:
    """The healthy platform, or nothing and the exit code of the child that could not start it."""
    with view.progress() as advance:
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return None, os.waitstatus_to_exitcode(status)
            snapshot = folder.read_snapshot()
            if snapshot and snapshot.supervisor == child:
                advance(snapshot)
                if snapshot.phase == "healthy":
                    return snapshot, 0
            time.sleep(0.1)


def _describe_login(folder: StateFolder, is_new: bool) -> str:
    file = _password_file(folder)
    if is_new:
        return f"log in as {ADMIN} with password {file.read_text()} (shown this once, kept in {file})"
    return f"log in as {ADMIN} with the password in {file}"


def _password_file(folder: StateFolder) -> Path:
    return folder.secrets / "admin_password"
