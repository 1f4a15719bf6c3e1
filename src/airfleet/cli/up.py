"""`airfleet up`: start, supervise and show one whole platform on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click

from airfleet.cli import options, view
from airfleet.components.metadata import ADMIN
from airfleet.errors import AirfleetError
from airfleet.runners.local import launch as launching
from airfleet.runners.local.state import Snapshot, StateFolder
from airfleet.runners.local.supervisor import Supervisor

DETACH_TIMEOUT_S = 600.0


@click.command("up", short_help="Start a whole platform on this machine.")
@options.project
@options.state
@click.option("--detach", is_flag=True, help="Return when everything is healthy; `airfleet down` stops it.")
@click.option("--port", type=click.IntRange(1024, 65535), help="The port of UI and API, in place of fleet.yaml's.")
@click.option(
    "--drain", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds tasks are given at a stop."
)
@click.option("--detached-child", is_flag=True, hidden=True)
def command(
    project: Path, state: Path | None, detach: bool, port: int | None, drain: float, detached_child: bool
) -> None:
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
        _supervise(project, folder, port, drain, announce=is_new and not detached_child)


def _supervise(project: Path, folder: StateFolder, port: int | None, drain_s: float, *, announce: bool) -> None:
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
    argv = [sys.executable, "-m", "airfleet", "up", str(project), "--state", str(folder.root), "--drain", str(drain_s)]
    argv += ["--detached-child", *(["--port", str(port)] if port else [])]
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    snapshot = _wait(child, folder)
    if snapshot is None:
        click.echo(log.read_bytes()[size:].decode(errors="replace").strip(), err=True)
        raise SystemExit(child.returncode or 1)
    click.echo(f"{snapshot.fleet} is up: {snapshot.url}", err=True)


def _wait(child: subprocess.Popen[bytes], folder: StateFolder) -> Snapshot | None:
    deadline = time.monotonic() + DETACH_TIMEOUT_S
    with view.progress() as advance:
        while child.poll() is None and time.monotonic() < deadline:
            snapshot = folder.read_snapshot()
            if snapshot and snapshot.supervisor == child.pid:
                advance(snapshot)
                if snapshot.phase == "healthy":
                    return snapshot
            time.sleep(0.1)
    return None


def _describe_login(folder: StateFolder, is_new: bool) -> str:
    file = _password_file(folder)
    if is_new:
        return f"log in as {ADMIN} with password {file.read_text()} (shown this once, kept in {file})"
    return f"log in as {ADMIN} with the password in {file}"


def _password_file(folder: StateFolder) -> Path:
    return folder.secrets / "admin_password"
