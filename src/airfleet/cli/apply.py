"""`airfleet apply`: make every host match fleet.yaml."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from airfleet.cli import options, plan
from airfleet.cli.console import describe_health, log, log_step, say, show_health
from airfleet.components.metadata import ADMIN
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import session
from airfleet.operations.apply import DRAIN_S, Apply, PackageSource
from airfleet.runners.fleet.apply import removed_hosts
from airfleet.runners.fleet.survey import host_survey
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace import applied_hosts
from airfleet.workspace.rotation import RotationLedger
from airfleet.workspace.state_folder import StateFolder, write_file
from airfleet_provider.contract import wording

# What `--offline` means without a folder.
HERE = "apt"


@click.command("apply", short_help="Make the hosts match fleet.yaml.")
@options.project
@options.state
@click.option("--restart", is_flag=True, help="Restart every Airflow process, even if its host does not change.")
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=DRAIN_S,
    show_default=True,
    help="Seconds to wait for a restarting worker's tasks before the next worker of its pool restarts.",
)
@click.option(
    "--offline",
    metavar="[FOLDER]",
    is_flag=False,
    flag_value=HERE,
    help="Send the hosts their Debian packages: they need no mirror. Fetched here with apt, or taken "
    "from a folder, where nothing checks who made them.",
)
@click.option("--forget", multiple=True, metavar="HOST", help="Stop looking for a removed host that no longer exists.")
@options.accept_new_hosts
@click.option("--revoke", is_flag=True, help="End former values of rotated secrets now, even if a task uses one.")
@options.as_json
def command(
    project: Path,
    state: Path | None,
    *,
    restart: bool,
    drain: float,
    offline: str | None,
    forget: tuple[str, ...],
    accept_new_hosts: bool,
    revoke: bool,
    as_json: bool,
) -> None:
    """Make every host match fleet.yaml: packages, files, services and firewall, in the right order.

    If an apply is interrupted, the next one continues. A host that already matches is not touched. Services restart
    host by host: the balancer sends requests to other hosts, the active scheduler hands over, tasks run to their end.

    Exits with 3 if only a removed host is left whose tasks still run: apply again when they have ended.

    \b
    Example:
      airfleet plan && airfleet apply
      airfleet apply --restart
      airfleet apply --offline
    """
    source = _find_source(offline)
    begun = time.monotonic()
    with session.open_session(project, state, notify=log, accept_new_hosts=accept_new_hosts) as work:
        work.check_settled()
        known = _forget(applied_hosts.read(work.folder.root), forget)
        change = Apply(work, known, source=source, report=log_step, restart=restart, drain_s=drain)
        change.run(revoke=revoke)
        fleet, folder = work.fleet, work.folder
    seconds = time.monotonic() - begun
    if as_json:
        click.echo(json.dumps(describe(change, seconds), indent=2))
    else:
        show_health(change.health)
    _report(change, fleet, folder, seconds)
    if change.errors or not all(one.is_well for one in change.health):
        raise SystemExit(1)
    if change.draining:
        log(f"{', '.join(change.draining)} is still draining: apply again when its tasks have ended")
        raise SystemExit(plan.CHANGES)
    url = change.survey.views[0].desired.place.public_url
    log(f"{fleet.name} is up: {url} (user {ADMIN}, password in {folder.secrets / 'admin_password'})")


def _report(change: Apply, fleet: Fleet, folder: StateFolder, seconds: float) -> None:
    left = {one.step.host for one in change.outcome.done} - {host.name for host in fleet.hosts}
    for host in sorted(left - set(change.draining)):
        log(f"{host} left the fleet: {removed_hosts.LEFT}")
    for error in change.removed.silent:
        say(removed_hosts.explain_silent(error))
    for line in RotationLedger(folder.secrets).describe(time.time()):
        log(f"rotation of {line}")
    if change.outcome.skipped:
        log(f"not made: {wording.count(len(change.outcome.skipped), 'change')}; the next apply continues there")
    if change.errors:
        say(host_survey.describe_errors(change.errors))
        _keep_outputs(change.errors, folder)
    log(f"{wording.count(sum(one.error is None for one in change.outcome.done), 'change')} in {seconds:.1f} s")


def _find_source(offline: str | None) -> PackageSource:
    if offline is None or offline == HERE:
        return PackageSource(offline is not None)
    folder = Path(offline).expanduser()
    if not any(folder.rglob("*.deb")):
        hint = "if this is the project folder, write it first: airfleet apply PROJECT --offline"
        raise UsageError(f"no packages (*.deb) in {folder}", where="--offline", hint=hint)
    return PackageSource(is_offline=True, folder=folder)


def _forget(known: tuple[Host, ...], names: tuple[str, ...]) -> tuple[Host, ...]:
    if unknown := sorted(set(names) - {host.name for host in known}):
        there = ", ".join(host.name for host in known) or "none"
        raise UsageError(f"unknown host: {', '.join(unknown)}", where="--forget", hint=f"the last apply knew {there}")
    return tuple(host for host in known if host.name not in names)


def _keep_outputs(errors: tuple[AirfleetError, ...], folder: StateFolder) -> None:
    for error in errors:
        if isinstance(error, HostError) and error.output:
            path = folder.logs / f"apply-{error.where}.log"
            write_file(path, error.output)
            say(f"the full output of {error.where}: {path}")


def describe(change: Apply, seconds: float) -> dict[str, object]:
    """Return the changes and their results as JSON."""
    return {
        "seconds": round(seconds, 2),
        "changes": [
            {"host": one.step.host, "what": one.step.what, "seconds": round(one.seconds, 2), "ok": one.error is None}
            for one in change.outcome.done
        ],
        "left": len(change.outcome.skipped),
        "health": describe_health(change.health),
        "errors": [{"host": error.where, "what": error.what, "hint": error.hint} for error in change.errors],
        "draining": list(change.draining),
    }
