"""`airfleet upgrade`: move a fleet to another version of Airflow while it works, and back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import confirm, describe_health, log, log_step, show_health
from airfleet.errors import UsageError
from airfleet.operations import session
from airfleet.operations.apply import DRAIN_S
from airfleet.operations.upgrade import move
from airfleet.operations.upgrade.run import Upgrade
from airfleet.runners.fleet.survey import outside_health
from airfleet.spec.fleet import Fleet
from airfleet.workspace import airflow_version, primary_record
from airfleet_provider.contract import wording


@click.command("upgrade", short_help="Move a running fleet to another Airflow version, or back.")
@options.project
@options.state
@click.option("--to", metavar="VERSION", help="The version to move to.  [default: the newest that airfleet knows]")
@click.option("--back", is_flag=True, help="Move back to the earlier version. This also reverses an interrupted move.")
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=DRAIN_S,
    show_default=True,
    help="Seconds to wait for a restarting worker's tasks.",
)
@click.option(
    "--backed-up", is_flag=True, help="With `database` in fleet.yaml: its owner has made a backup of it just now."
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@options.as_json
def command(
    project: Path,
    state: Path | None,
    *,
    to: str | None,
    back: bool,
    drain: float,
    backed_up: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move a fleet from one Airflow version to another, host by host. No task is interrupted.

    The command shows its plan and asks for a confirmation. It backs up the databases first. If it is interrupted, run
    it again to continue, or with --back to reverse the move. Until then `apply` changes nothing.

    \b
    Example:
      airfleet upgrade
      airfleet upgrade --to 3.3.2 --yes
      airfleet upgrade --back
    """
    if to and back:
        raise UsageError("--to and --back cannot be combined")
    begun = time.monotonic()
    with session.open_session(project, state, notify=log) as work:
        fleet = work.spec.fleet
        _require_backup(fleet, backed_up=backed_up)
        primary_record.check_settled(work.folder)
        running = airflow_version.read(work.folder)
        chosen = move.choose(running, [*airflow_version.find_locks()], to=to, back=back)
        if chosen is None:
            log(f"{fleet.name} runs Airflow {running.version} already")
            if as_json:
                click.echo(json.dumps({"before": running.version, "after": running.version, "changes": 0}))
            return
        upgrade = Upgrade(work, drain_s=drain, report=log_step)
        survey = upgrade.look(chosen)
        for line in move.describe(chosen, fleet, drain_s=drain):
            click.echo(line, err=as_json)
        confirm("do it?", yes=yes)
        done = upgrade.run(chosen, survey)
        seen = outside_health.wait(fleet, done.views, time.monotonic)
    seconds = time.monotonic() - begun
    if as_json:
        about = {"before": done.before, "after": done.after, "backup": done.backup, "schema_moved": done.schema_moved}
        about |= {"changes": done.changes, "seconds": round(seconds, 2)}
        click.echo(json.dumps({**about, "health": describe_health(seen)}))
    else:
        show_health(seen)
    log(f"{fleet.name} runs Airflow {done.after}: {wording.count(done.changes, 'change')} in {seconds:.1f} s")
    if not all(one.is_well for one in seen):
        raise SystemExit(1)


def _require_backup(fleet: Fleet, *, backed_up: bool) -> None:
    """Raise UsageError where only the owner of the database can make the backup that an upgrade needs."""
    if fleet.database and not backed_up:
        raise UsageError(
            "somebody else runs this PostgreSQL, so airfleet cannot back it up before the upgrade",
            where="fleet.yaml: database",
            hint="let its owner make a backup, then: airfleet upgrade --backed-up",
        )
    if backed_up and not fleet.database:
        raise UsageError("--backed-up needs `database` in fleet.yaml", hint="airfleet makes the backup itself")
