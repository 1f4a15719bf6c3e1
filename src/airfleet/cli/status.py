"""`airfleet status`: what runs here, and whether it is healthy."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options, view
from airfleet.cli.console import open_console, say
from airfleet.errors import UsageError
from airfleet.operations import fallbacks
from airfleet.runners.local.usage import ResourceUsage, is_alive, measure
from airfleet.workspace.project import find_fleet, find_state
from airfleet.workspace.state_folder import BrokenFile, Snapshot, write_file
from airfleet_provider.contract.release_list import Deployment


@click.command("status", short_help="Show what runs here and whether it is healthy.")
@options.project
@options.state
@options.as_json
@click.option(
    "--page", type=click.Path(path_type=Path, dir_okay=False), help="Fleet only: also write an HTML page to this file."
)
def command(project: Path, state: Path | None, as_json: bool, page: Path | None) -> None:
    """Show each component's state, pid, memory, uptime and address, and the live release. List Dag files that do not
    load, and work that took a slower path.

    On a fleet, show each host with its roles, what is wrong there with a hint, and the checks from outside the host.

    Exits with 0 if everything is healthy, and with 1 if something is unhealthy or nothing runs.

    \b
    Example:
      airfleet status --json
    """
    folder = find_state(project, state)
    if find_fleet(project, folder, say):
        from airfleet.cli import fleet_page, fleet_status  # noqa: PLC0415 - only a fleet needs what speaks SSH
        from airfleet.operations.fleet_status import look  # noqa: PLC0415

        report = look(project, state)
        if page:
            write_file(page, fleet_page.render(report, time.strftime("%Y-%m-%d %H:%M:%S %Z")), mode=0o644)
        fleet_status.show(report, as_json=as_json)
    if page:
        raise UsageError("--page is for a fleet only", where=str(project), hint="`airfleet status` shows this machine")
    snapshot = folder.read_snapshot()
    # In a copy of the folder of a platform, the supervisor lives and holds another folder.
    if snapshot is None or not folder.is_held() or not is_alive(snapshot):
        if as_json:
            click.echo(json.dumps({"phase": "down", "components": [], "import_errors": [], "release": None}))
        else:
            click.echo("down: no platform runs here", err=True)
        raise SystemExit(1)
    usage = measure(snapshot)
    errors: list[BrokenFile] = []
    release: Deployment | None = None
    if view.has_tables(snapshot) and (reader := view.open_reader(folder)):
        if (broken := reader.list_broken_files()) is not None:
            errors, release = broken, view.find_release(reader, snapshot)
        reader.close()
    courses = fallbacks.read_here(folder.root)
    if as_json:
        said = describe(snapshot, usage, errors, release) | fallbacks.describe(courses)
        click.echo(json.dumps(said, indent=2, default=str))
    else:
        open_console().print(view.tabulate(snapshot, usage, errors, release))
        for line in fallbacks.list_lines(courses):
            click.echo(line)
    raise SystemExit(0 if snapshot.phase == "healthy" else 1)


def describe(
    snapshot: Snapshot, usage: dict[str, ResourceUsage], errors: list[BrokenFile], release: Deployment | None
) -> dict[str, object]:
    """Return the status as JSON. Key names are stable, sizes are in MiB, times in seconds."""
    now = time.time()
    components = []
    for process in snapshot.processes:
        used = usage.get(process.name)
        components.append(
            {
                **{key: value for key, value in asdict(process).items() if key not in ("phase", "since")},
                "state": process.phase,
                "memory_mib": round(used.memory_mib, 1) if used else None,
                "cpu_s": round(used.cpu_s, 2) if used else None,
                "uptime_s": round(now - process.since, 1) if process.pid else None,
            }
        )
    return {
        "fleet": snapshot.fleet,
        "phase": snapshot.phase,
        "url": snapshot.url,
        "project": snapshot.project,
        "supervisor_pid": snapshot.supervisor,
        "components": components,
        "import_errors": [asdict(broken) for broken in errors],
        "release": describe_release(release) if release else None,
    }


def describe_release(deployment: Deployment) -> dict[str, object]:
    """Return the live release as JSON, with the state of its watch."""
    return {
        "id": deployment.release,
        "state": "watching" if deployment.is_watched else "live",
        "by": deployment.actor,
        "since": deployment.live_at,
        "watch_until": deployment.watch_until,
        "verdict": deployment.opinion or None,
    }
