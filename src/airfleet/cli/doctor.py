"""`airfleet doctor`: what would keep a platform from running well on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.runners.local import diagnosis
from airfleet.runners.local import launch as launching

MARKS = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "error": ("FAIL", "red")}


@click.command("doctor", short_help="Find what would keep a platform from running well.")
@options.project
@options.state
@options.as_json
def command(project: Path, state: Path | None, as_json: bool) -> None:
    """Look at versions, libraries, fleet.yaml, ports, folders, clock, disk and memory; each finding has a hint.

    Exits with 1 when something would keep the platform from starting. Changes nothing.

    \b
    Example:
      airfleet doctor --json
    """
    project = launching.find_project(project)
    findings = diagnosis.examine(project, launching.find_state(project, state))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark, color = MARKS[finding.level]
            click.echo(f"{click.style(f'{mark:>4}', fg=color)}  {finding.subject}: {finding.what}")
            if finding.hint:
                click.echo(f"      hint: {finding.hint}")
    raise SystemExit(1 if any(finding.level == "error" for finding in findings) else 0)
