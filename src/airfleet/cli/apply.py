"""`airfleet apply`: make every host what fleet.yaml says."""

from __future__ import annotations

import getpass
import json
import socket
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from airfleet.cli import options, plan
from airfleet.components.metadata import ADMIN
from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.local import launch as launching
from airfleet.runners.local.state import StateFolder, write_file
from airfleet.runners.ssh import health, inspect, lease, packages, runtime, waves
from airfleet.runners.ssh.apply import Applier, Outcome, Result
from airfleet.runners.ssh.connection import HostError
from airfleet.runners.ssh.inspect import Survey, Wish
from airfleet.runners.ssh.rolling import Rolling
from airfleet.runners.ssh.steps import Unpack

DRAIN_S = 900.0
# What `--offline` means without a folder.
HERE = "apt"


@click.command("apply", short_help="Make the hosts what fleet.yaml says.")
@options.project
@options.state
@click.option("--restart", is_flag=True, help="Restart every process of Airflow too, also where nothing changes.")
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=DRAIN_S,
    show_default=True,
    help="Seconds to wait for the tasks of a worker that restarts before the next one of its pool does.",
)
@click.option(
    "--offline",
    metavar="[FOLDER]",
    is_flag=False,
    flag_value=HERE,
    help="Send the hosts their Debian packages: they need no mirror. Fetched here with apt, or taken from a folder.",
)
@options.as_json
def command(project: Path, state: Path | None, restart: bool, drain: float, offline: str | None, as_json: bool) -> None:
    """Make every host of fleet.yaml what it says: packages, files, services, firewall, in the right order.

    What was cut off goes on at the next apply. Where there is nothing to do, nothing is touched. What has to restart
    does so host by host: requests are led past it, the active scheduler hands over, tasks run to their end.

    \b
    Example:
      airfleet plan && airfleet apply
      airfleet apply --restart
      airfleet apply --offline
    """
    source = _find_source(offline)
    begun = time.monotonic()
    with ExitStack() as stack:
        wish = inspect.read_wish(project, state)
        folder = launching.find_state(wish.project, state)
        since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        token = stack.enter_context(lease.claim(folder.root, _actor(), since))
        survey = inspect.survey(wish, stack, _say)
        survey, outcome = _carry_out(wish, survey, stack, token, source, restart=restart, drain_s=drain)
        errors = (*survey.errors, *outcome.errors)
        patience = 0.0 if errors else health.PATIENCE_S
        seen = health.wait(wish.fleet, survey.views, time.monotonic, patience_s=patience) if survey.views else ()
    seconds = time.monotonic() - begun
    if as_json:
        click.echo(json.dumps(_describe(outcome, seen, errors, seconds), indent=2))
    else:
        for sight in seen:
            click.echo(f"{'ok ' if sight.is_well else 'NOT'} {sight.what}: {sight.detail}", err=True)
    if outcome.skipped:
        _say(f"{len(outcome.skipped)} changes are left; the next apply goes on with them")
    if errors:
        click.echo(inspect.describe_errors(errors), err=True)
        _keep_outputs(errors, folder)
    _say(f"{len([one for one in outcome.done if one.error is None])} changes in {seconds:.1f} s")
    if errors or not all(sight.is_well for sight in seen):
        raise SystemExit(1)
    url = survey.views[0].desired.place.public_url
    _say(f"{wish.fleet.name} is up: {url} (user {ADMIN}, password in {folder.secrets / 'admin_password'})")


@dataclass(frozen=True, slots=True)
class Source:
    """Where hosts get their Debian packages: from their mirrors, or from this machine, by apt or out of a folder."""

    is_offline: bool
    folder: Path | None = None


def _find_source(offline: str | None) -> Source:
    if offline is None or offline == HERE:
        return Source(offline is not None)
    folder = Path(offline).expanduser()
    if not any(folder.rglob("*.deb")):
        hint = "write the project first if that is one: airfleet apply PROJECT --offline"
        raise UsageError(f"no packages (*.deb) are in {folder}", where="--offline", hint=hint)
    return Source(is_offline=True, folder=folder)


def _carry_out(
    wish: Wish, survey: Survey, stack: ExitStack, token: str, source: Source, *, restart: bool, drain_s: float
) -> tuple[Survey, Outcome]:
    if restart:
        survey = inspect.change_steps(survey, waves.add_restarts)
    if not survey.steps:
        return survey, Outcome((), (), ())
    primary = wish.fleet.with_role("database")[0].name
    keeper = next((view for view in survey.views if view.desired.place.host.name == primary), None)
    if keeper is None:
        error = AirfleetError(
            "no change is made on any host without this one, which keeps the database and the lease of apply",
            where=primary,
            hint="mend it first",
        )
        return survey, Outcome((), (error,), survey.steps)
    held = stack.enter_context(lease.hold(keeper.connection, _actor(), token))
    if held.before != keeper.lease:
        _say("somebody applied this fleet in the meantime: looking again")
        survey = inspect.survey(wish, stack, _say)
        survey = inspect.change_steps(survey, waves.add_restarts) if restart else survey
    if survey.steps:
        _say(plan.summarise(survey))
    archives = {}
    if source.is_offline:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airfleet-")))
        shipment = packages.ship(survey, source.folder, work, runtime.find_cache().with_name("packages"), _say)
        survey, archives = shipment.survey, shipment.archives
    outcome = Applier(
        survey.views,
        who=_actor(),
        archives=archives | _build_archives(survey),
        clock=time.monotonic,
        notify=_notify,
        lost=held.lost,
        absent=(error.where for error in survey.errors),
        rolling=Rolling(survey.views, drain_s=drain_s, notify=_say),
    ).run()
    if held.lost.is_set() and outcome.skipped and not outcome.errors:
        lost = AirfleetError(
            "the lease of this apply was lost",
            where=primary,
            hint="look whether somebody else applies, then apply again",
        )
        outcome = Outcome(outcome.done, (lost,), outcome.skipped)
    return survey, outcome


def _build_archives(survey: Survey) -> dict[str, Path]:
    recipes = {
        view.recipe.digest: view.recipe
        for view in survey.views
        for step in view.steps
        if isinstance(step.action, Unpack)
    }
    cache = runtime.find_cache()
    return {digest: runtime.ensure(recipe, cache, _say) for digest, recipe in recipes.items()}


def _notify(result: Result) -> None:
    if result.step.is_small and not result.error:
        return
    mark = "failed: " if result.error else ""
    note = f" [{result.note.splitlines()[-1]}]" if result.note == "draining" else ""
    _say(f"{result.step.host}: {mark}{result.step.what} {result.seconds:.1f} s{note}")


def _keep_outputs(errors: tuple[AirfleetError, ...], folder: StateFolder) -> None:
    for error in errors:
        if isinstance(error, HostError) and error.output:
            path = folder.logs / f"apply-{error.where}.log"
            write_file(path, error.output)
            click.echo(f"all that {error.where} said: {path}", err=True)


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


def _describe(
    outcome: Outcome, seen: tuple[health.Sight, ...], errors: tuple[AirfleetError, ...], seconds: float
) -> dict[str, object]:
    return {
        "seconds": round(seconds, 2),
        "changes": [
            {"host": one.step.host, "what": one.step.what, "seconds": round(one.seconds, 2), "ok": one.error is None}
            for one in outcome.done
        ],
        "left": len(outcome.skipped),
        "health": [{"what": sight.what, "ok": sight.is_well, "detail": sight.detail} for sight in seen],
        "errors": [{"host": error.where, "what": error.what, "hint": error.hint} for error in errors],
    }


def _actor() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return "unknown"
