"""What every verb prints in the same way: progress, questions and what was seen of a fleet's health, all on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from airfleet.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from airfleet.runners.fleet.apply.applier import StepResult
    from airfleet.runners.fleet.survey.outside_health import Observation


def say(line: str) -> None:
    """Print a line of progress."""
    click.echo(line, err=True)


def log(line: str) -> None:
    """Print a line of progress with the time of day, where work takes a while."""
    say(f"{time.strftime('%H:%M:%S')} {line}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal unless `yes`; raises UsageError where nobody can answer, and click.Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint="say --yes")
    click.confirm(question, abort=True, err=True)


def log_step(result: StepResult) -> None:
    """Print what became of one step; small steps are printed only when they failed."""
    if result.step.is_small and not result.error:
        return
    mark = "failed: " if result.error else ""
    note = " [draining]" if result.drains else ""
    log(f"{result.step.host}: {mark}{result.step.what} {result.seconds:.1f} s{note}")


def show_health(seen: Iterable[Observation]) -> None:
    """Print what was observed, a line each."""
    for one in seen:
        say(f"{'ok ' if one.is_well else 'NOT'} {one.what}: {one.detail}")


def describe_health(seen: Iterable[Observation]) -> list[dict[str, object]]:
    """What was observed as JSON."""
    return [{"what": one.what, "ok": one.is_well, "detail": one.detail} for one in seen]


def open_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; what is piped into a file or a program is never folded at 80 columns."""
    from rich.console import Console  # noqa: PLC0415 - most verbs print plain lines, and it costs a tenth of a second

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 160)
