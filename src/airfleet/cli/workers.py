"""`airfleet workers`: show the workers, take one out of service without killing a task, and set a pool's slots."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from airfleet.cli import options
from airfleet.cli.console import open_console, say
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.workers import access, page_drains
from airfleet.operations.workers.access import WorkerAccess
from airfleet.operations.workers.status import Worker, choose, list_deserted
from airfleet.workspace.actor import find_actor

DRAIN_S, RESUME_S = 3600.0, 120.0
STYLES = {
    "serving": "green",
    "full": "red",
    "pressed": "red",
    "draining": "yellow",
    "starting": "yellow",
    "drained": "dim",
    "away": "red",
}


@click.group("workers", short_help="Show the workers; drain, resume and scale them.")
def command() -> None:
    """Show the workers. Drain a worker to take it out of service without killing a task, and resume it.

    A host's name means the workers of all its pools. `pool@host` means one worker.

    \b
    Example:
      airfleet workers list
      airfleet workers drain io1 && ssh io1 reboot
    """


@command.command("list")
@options.project_option
@options.state
@options.as_json
def list_command(project: Path, state: Path | None, as_json: bool) -> None:
    """Show each worker's host, pool, queues, slots and tasks, and whether it takes new tasks.

    Exits with 1 if a worker cannot be reached.

    \b
    Example:
      airfleet workers list --json
    """
    with ExitStack() as stack:
        workers = access.find(stack, project, state).read()
    if as_json:
        click.echo(json.dumps({"workers": [describe(worker) for worker in workers]}, indent=2))
    else:
        open_console().print(tabulate(workers))
    if any(worker.state == "away" for worker in workers):
        raise SystemExit(1)


@command.command("drain")
@click.argument("targets", nargs=-1, required=True, metavar="HOST|POOL@HOST...")
@options.project_option
@options.state
@click.option(
    "--timeout", type=click.FloatRange(0), default=DRAIN_S, show_default=True, help="Seconds to wait; 0: not at all."
)
@options.as_json
def drain_command(targets: tuple[str, ...], project: Path, state: Path | None, timeout: float, as_json: bool) -> None:
    """Stop workers from taking new tasks, and wait until their running tasks have ended.

    A worker stays drained until `airfleet workers resume`, even if its service or host restarts. Exits with 1 if tasks
    still run when the time is over, or if their end cannot be confirmed. The worker then continues to drain.

    \b
    Example:
      airfleet workers drain io1 --timeout 600
      airfleet workers drain cpu@cpu1
    """
    with ExitStack() as stack:
        place = access.find(stack, project, state)
        workers = place.read()
        chosen = choose(workers, targets)
        deserted = list_deserted(workers, chosen)
        if deserted:
            say(f"no other worker serves {', '.join(deserted)}: its tasks wait until a worker resumes")
        left = _turn(place, chosen, drained=True, timeout_s=timeout, as_json=as_json)
    if left and timeout:
        raise explain_left(left, timeout)


def explain_left(left: tuple[Worker, ...], timeout_s: float) -> AirfleetError:
    """Build the error for workers that did not finish in time: tasks still run, or their state is unknown."""
    names = ", ".join(worker.name for worker in left)
    if all(worker.state == "away" for worker in left):
        hint = "their tasks may still run: check that the host is up, then drain again"
        return AirfleetError(f"their state could not be confirmed within {timeout_s:g} s", where=names, hint=hint)
    hint = "no task was killed, and no new one starts: drain again to wait longer, or resume"
    return AirfleetError(f"tasks are still running after {timeout_s:g} s", where=names, hint=hint)


@command.command("resume")
@click.argument("targets", nargs=-1, required=True, metavar="HOST|POOL@HOST...")
@options.project_option
@options.state
@click.option(
    "--timeout", type=click.FloatRange(0), default=RESUME_S, show_default=True, help="Seconds to wait; 0: not at all."
)
@options.as_json
def resume_command(targets: tuple[str, ...], project: Path, state: Path | None, timeout: float, as_json: bool) -> None:
    """Let drained workers take tasks again, and wait until they serve, also those that were drained on a page.

    \b
    Example:
      airfleet workers resume io1
    """
    with ExitStack() as stack:
        place = access.find(stack, project, state)
        chosen = choose(place.read(), targets)
        if any(worker.by_page for worker in chosen):
            page_drains.end(project, state, chosen, actor=find_actor())
        left = _turn(place, chosen, drained=False, timeout_s=timeout, as_json=as_json)
    if left and timeout:
        names = ", ".join(worker.name for worker in left)
        raise AirfleetError(f"not serving after {timeout:g} s", where=names, hint="airfleet status")


@command.command("scale")
@click.argument("pool")
@click.argument("slots", metavar="SLOTS|auto")
@options.project_option
@options.state
@click.option("--reason", required=True, help="Why: `airfleet scale explain` and the audit log show it.")
def scale_command(pool: str, slots: str, project: Path, state: Path | None, reason: str) -> None:
    """Set the slots of a whole pool by hand, or let it scale by its tasks again with `auto`.

    The pool needs `scale` in fleet.yaml. The number holds until `auto`, whatever `min`, `max` and `hours` say. The
    workers follow within seconds, and no running task ends.

    \b
    Example:
      airfleet workers scale memory 2 --reason "the host is short of memory"
      airfleet workers scale memory auto --reason "it has more now"
    """
    from airfleet.operations.slots import open_slots  # noqa: PLC0415 - the other commands need no database

    if slots != "auto" and not slots.isdecimal():
        raise UsageError(f"{slots!r} is no number of slots", hint="write a number, or auto")
    wanted = None if slots == "auto" else int(slots)
    with open_slots(project, state) as opened:
        opened.scale(pool, wanted, actor=find_actor(), reason=reason)
    say(f"the pool {pool} scales by itself" if wanted is None else f"the pool {pool} has {wanted} slots from now on")


def _turn(
    place: WorkerAccess, chosen: tuple[Worker, ...], *, drained: bool, timeout_s: float, as_json: bool
) -> tuple[Worker, ...]:
    place.mark(chosen, drained=drained)
    names = {worker.name for worker in chosen}
    left = access.wait(place, names, drained=drained, timeout_s=timeout_s, notify=say)
    if as_json:
        now = [worker for worker in place.read() if worker.name in names]
        click.echo(json.dumps({"workers": [describe(worker) for worker in now]}, indent=2))
    return left


def tabulate(workers: tuple[Worker, ...]) -> Table:
    """Return the workers as a table."""
    table = Table("host", "pool", "state", "queues", "slots", "tasks", "which")
    for worker in workers:
        names = [task.name for task in worker.tasks]
        which = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        state = f"[{STYLES[worker.state]}]{worker.state}[/]"
        queues = ", ".join(worker.queues)
        words = (str(worker.slots), str(len(names)), escape(which or worker.why))
        table.add_row(worker.host, worker.pool, state, escape(queues), *words)
    return table


def describe(worker: Worker) -> dict[str, object]:
    """Return a worker as JSON."""
    running = [task.name for task in worker.tasks if task.running]
    return {**asdict(worker), "name": worker.name, "running": running, "waiting": len(worker.tasks) - len(running)}
