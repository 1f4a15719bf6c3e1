"""`airfleet logs`: what the components write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import click

from airfleet.cli import options
from airfleet.errors import UsageError
from airfleet.runners.local import launch as launching

POLL_S = 0.2


@click.command("logs", short_help="Show what the components write.")
@click.argument("component", required=False)
@options.project_option
@options.state
@click.option("-f", "--follow", is_flag=True, help="Go on as they write more.")
@click.option("-n", "--lines", type=click.IntRange(0), default=50, show_default=True, help="Lines to begin with.")
def command(component: str | None, project: Path, state: Path | None, follow: bool, lines: int) -> None:
    """Show the logs of one component, or of all with its name before each line.

    \b
    Example:
      airfleet logs -f scheduler
    """
    folder = launching.find_state(project, state)
    files = {path.stem: path for path in sorted(folder.logs.glob("*.log"))}
    if component is not None and component not in files:
        known = ", ".join(files) or "none yet"
        raise UsageError(f"no log of a component {component!r}", where=str(folder.logs), hint=f"there are: {known}")
    if not files:
        raise UsageError("no logs yet", where=str(folder.logs), hint="airfleet up")
    chosen = {component: files[component]} if component else files
    width = max(map(len, chosen)) if len(chosen) > 1 else 0
    handles = {name: path.open("rb") for name, path in chosen.items()}
    for name, handle in handles.items():
        written = _read_whole(handle) if follow else handle.readlines()
        _print(name, written[-lines:] if lines else [], width)
    while follow:
        news = [_follow(name, handle, width) for name, handle in handles.items()]
        if not any(news):
            time.sleep(POLL_S)


def _follow(name: str, handle: BinaryIO, width: int) -> bool:
    if os.fstat(handle.fileno()).st_size < handle.tell():
        handle.seek(0)  # it was emptied by the rotation
    lines = _read_whole(handle)
    _print(name, lines, width)
    return bool(lines)


def _read_whole(handle: BinaryIO) -> list[bytes]:
    # A line that is still being written waits for its end.
    lines = handle.readlines()
    if lines and not lines[-1].endswith(b"\n"):
        handle.seek(-len(lines.pop()), os.SEEK_CUR)
    return lines


def _print(name: str, lines: Iterable[bytes], width: int) -> None:
    head = f"{name:<{width}} | " if width else ""
    for line in lines:
        click.echo(head + line.decode(errors="replace").rstrip("\n"))
