"""Output that all commands share, on stderr: progress, questions, and the observed health of a fleet."""

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
    from airfleet.runners.fleet.survey.outside_health import HealthObservation

MARKS = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "error": ("FAIL", "red")}


def say(line: str) -> None:
    """Print a line of progress."""
    click.echo(line, err=True)


def log(line: str) -> None:
    """Print a line of progress with the time of day, for work that takes long."""
    say(f"{time.strftime('%H:%M:%S')} {line}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask for a confirmation unless `yes`. Raises UsageError without a terminal, click.Abort after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this command needs a confirmation, and there is no terminal to ask on", hint="say --yes")
    click.confirm(question, abort=True, err=True)


def log_step(result: StepResult) -> None:
    """Print the result of one step. Small steps are printed only if they failed."""
    if result.step.is_small and not result.error:
        return
    mark = "failed: " if result.error else ""
    note = " [draining]" if result.drains else ""
    log(f"{result.step.host}: {mark}{result.step.what} {result.seconds:.1f} s{note}")


def show_health(seen: Iterable[HealthObservation]) -> None:
    """Print one line for each observation."""
    for one in seen:
        say(describe_observation(one))


def describe_observation(seen: HealthObservation) -> str:
    """Return the observation as one line, marked as `airfleet doctor` marks its findings."""
    return f"{mark('ok' if seen.is_well else 'error')}  {seen.what}: {seen.detail}"


def mark(level: str) -> str:
    """Return the coloured word for a level of MARKS. Words of all levels are of one width."""
    word, color = MARKS[level]
    return click.style(f"{word:>4}", fg=color)


def describe_health(seen: Iterable[HealthObservation]) -> list[dict[str, object]]:
    """Return the observations as JSON."""
    return [{"what": one.what, "ok": one.is_well, "detail": one.detail} for one in seen]


def open_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal. Output to a file or pipe is not wrapped at 80 columns."""
    from rich.console import Console  # noqa: PLC0415 - most verbs print plain lines, and it costs a tenth of a second

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 160)
