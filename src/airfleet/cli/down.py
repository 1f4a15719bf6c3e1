"""`airfleet down`: stop the platform of this folder."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import click

from airfleet.cli import options, view
from airfleet.cli.console import say
from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.local import leftovers, processes
from airfleet.runners.local.usage import is_alive
from airfleet.workspace.project import find_fleet, find_state
from airfleet.workspace.state_folder import StateFolder

LEFTOVER_GRACE_S = 10.0
POLL_S = 0.3


@click.command("down", short_help="Stop the platform of this folder.")
@options.project
@options.state
@click.option("--now", is_flag=True, help="Do not wait for running tasks. The next `up` runs them again.")
@click.option("--yes", is_flag=True, help="Fleet only: do not ask for confirmation.")
def command(project: Path, state: Path | None, now: bool, yes: bool) -> None:
    """Stop the platform. Running tasks get the time set by `up --drain`; the next `up` runs unfinished tasks again.

    On a fleet, after a confirmation, stop the schedulers, then the workers when their tasks have ended, then the web
    hosts. The database, broker and balancer keep running. `airfleet apply` starts everything again.

    \b
    Example:
      airfleet down
    """
    folder = find_state(project, state)
    if fleet := find_fleet(project, folder, say):
        from airfleet.cli import fleet_down  # noqa: PLC0415 - only a fleet needs what speaks SSH

        if now:
            raise UsageError("--now is for one machine only", hint="wait for the running tasks, or end them in the UI")
        fleet_down.run(fleet, project, state, yes=yes)
        return
    was_held = folder.is_held()
    if was_held:
        _ask(folder, now)
    snapshot = folder.read_snapshot()
    if snapshot is None:
        click.echo("no platform runs here", err=True)
        return
    if not was_held:
        _end_leftovers(folder)
    click.echo(f"{snapshot.fleet} is down; its data stays in {folder.root}", err=True)


def _ask(folder: StateFolder, now: bool) -> None:
    signals = 2 if now else 1
    with view.progress("stopping", ("stopped", "done"), since=folder.read_snapshot()) as advance:
        while folder.is_held():
            current = folder.read_snapshot()
            # A supervisor that has only begun has not written yet; what is there names the one before it.
            if current and is_alive(current):
                if signals:
                    with suppress(ProcessLookupError):
                        os.kill(current.supervisor, signal.SIGTERM)
                    signals -= 1
                advance(current)
            time.sleep(POLL_S)


def _end_leftovers(folder: StateFolder) -> None:
    # The supervisor was killed. The kernel signalled its children to stop, and this ends those that still run.
    with folder.lock():
        processes.end(leftovers.find(folder), grace_s=LEFTOVER_GRACE_S, first=signal.SIGINT)
        processes.end_server(folder.postgres_data)
        if leftovers.find(folder):
            raise AirfleetError("some processes could not be stopped", where=str(folder.root))
