"""`airfleet audit …`: who changed what, and whether somebody edited the record of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from airfleet.cli import options
from airfleet.errors import AirfleetError

if TYPE_CHECKING:
    from airfleet.operations.audit import Filter
    from airfleet_provider.contract.audit_log import Row

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415

SOURCES = ("api", "task", "airflow", "airfleet")
# Seconds after which a row that reached the database late says when its command ran.
SLOW_S = 5.0
OUTCOMES = ("begun", "done", "refused", "failed", "unknown")


@click.group("audit", short_help="Who changed what, and proof that nobody edited the record.")
def command() -> None:
    """Show, verify, export and archive the audit log: every change through the UI, the APIs and the command lines.

    \b
    Example:
      airfleet audit list --since 2h --outcome refused
      airfleet audit verify
      airfleet audit export --format cef --since 24h
    """


@command.command("list")
@options.project_option
@options.state
@options.since
@options.until
@click.option("--actor", help="Only what this user, task or person did.")
@click.option("--source", type=click.Choice(SOURCES), help="Only changes that came in this way.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only changes with this outcome.")
@click.option("--text", help="Only rows that contain this text.")
@click.option("-n", "--most", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Show so many.")
@options.as_json
def list_command(
    project: Path,
    state: Path | None,
    since: str | None,
    until: str | None,
    actor: str | None,
    source: str | None,
    outcome: str | None,
    text: str | None,
    most: int,
    as_json: bool,
) -> None:
    """List the last changes, the newest last.

    \b
    Example:
      airfleet audit list --since 24h --actor alice
    """
    from airfleet.operations.audit import open_log
    from airfleet_provider.contract.text import one_line

    chosen = _choose(since, until, actor, source, outcome, text)
    with open_log(project, state) as log:
        rows = log.list_rows(chosen, limit=most)
    if as_json:
        shown = [{**row.to_json(), "entry": row.fields} for row in rows]
        click.echo(json.dumps(shown, indent=2))
        return
    if not rows:
        click.echo("the audit log has no such row", err=True)
    for row in rows:
        fields = row.fields
        outcome = f"{fields.get('outcome', '?')} {fields.get('status', '')}"
        click.echo(
            f"{row.number:>7}  {row.recorded_at.astimezone():%Y-%m-%d %H:%M:%S}  {outcome:<12}"
            f"  {one_line(fields.get('actor') or 'nobody'):<24}  {one_line(fields.get('address', '')):<15}"
            f"  {one_line(fields.get('action', ''))}{tell_wait(row)}"
        )


def tell_wait(row: Row) -> str:
    """Return when a command ran whose row waited in the state folder, as nothing answered at that moment."""
    try:
        ran = datetime.fromisoformat(row.fields["detail"]["at"])
        waited = (row.recorded_at - ran).total_seconds()
    except (KeyError, TypeError, ValueError):
        return ""
    return f"  (ran {ran.astimezone():%Y-%m-%d %H:%M:%S})" if waited > SLOW_S else ""


@command.command("verify")
@options.project_option
@options.state
@click.option(
    "--anchors",
    type=click.File("r"),
    multiple=True,
    help="A file, or `-`, with heads that another machine kept: lines of the agents' log, or of heads.jsonl.",
)
@click.option(
    "--archive",
    "archives",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A file of `audit archive`, the oldest first; the chain is verified from there on.",
)
@options.as_json
def verify_command(
    project: Path,
    state: Path | None,
    anchors: tuple[IO[str], ...],
    archives: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Verify that no row was edited, removed or inserted. Exits with 1 if one was, and names it.

    \b
    Example:
      airfleet audit verify
      ssh sched2 journalctl -u airfleet-agents -o cat | airfleet audit verify --anchors -
    """
    from airfleet.operations.audit import open_log, read_file
    from airfleet_provider.contract import audit_log

    heads = [head for file in anchors for head in audit_log.read_heads(file)]
    with open_log(project, state) as log:
        verdict = log.verify(heads, archived=chain.from_iterable(read_file(path) for path in archives))
    if as_json:
        body = {
            "rows": verdict.rows,
            "first": verdict.first,
            "head": {"number": verdict.head.number, "hash": verdict.head.hash},
            "anchors": verdict.anchors,
            "findings": [{"number": one.number, "what": one.what} for one in verdict.findings],
        }
        click.echo(json.dumps(body, indent=2))
    for one in () if as_json else verdict.findings:
        click.echo(f"row {one.number} {one.what}")
    if verdict.findings:
        raise AirfleetError(
            f"the audit log is not as it was recorded: {len(verdict.findings)} findings, the first in row"
            f" {min(one.number for one in verdict.findings)}"
        )
    if not as_json:
        span = f"{verdict.rows} rows from {verdict.first} to {verdict.head.number}" if verdict.rows else "no rows"
        click.echo(f"{span}; {verdict.anchors} heads from outside the database agree; the head is {verdict.head.hash}")


@command.command("export")
@options.project_option
@options.state
@click.option("--format", "form", type=click.Choice(["json", "cef", "syslog"]), default="json", show_default=True)
@options.since
@options.until
def export_command(project: Path, state: Path | None, form: str, since: str | None, until: str | None) -> None:
    """Print the rows, the oldest first, for a SIEM: JSON lines, CEF, or messages of syslog.

    \b
    Example:
      airfleet audit export --format syslog --since 1h | nc -q1 siem.example.com 514
    """
    import airfleet
    from airfleet.operations.audit import open_log
    from airfleet.operations.audit_formats import FORMATS

    chosen = _choose(since, until, None, None, None, None)
    with open_log(project, state) as log, log.take_snapshot():
        for row in log.read_rows(until=chosen.until):
            if chosen.since is None or row.recorded_at >= chosen.since:
                click.echo(FORMATS[form](row, log.fleet.name, airfleet.__version__))


@command.command("anchor")
@options.project_option
@options.state
def anchor_command(project: Path, state: Path | None) -> None:
    """Keep the present head of the chain in the state folder, outside the database, and print it.

    \b
    Example:
      * * * * * airfleet audit anchor --project /srv/flights
    """
    from airfleet.operations.audit import open_log

    with open_log(project, state) as log:
        click.echo(log.anchor().to_line())


@command.command("archive")
@options.project_option
@options.state
@click.option("--before", required=True, help="Move rows from before this moment, or from before `90d` ago.")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="The new file to move them to.")
def archive_command(project: Path, state: Path | None, before: str, target: Path) -> None:
    """Move old rows out of the database into a file. The chain can still be verified, with the file and without it.

    \b
    Example:
      airfleet audit archive --before 90d --to audit-2026-08.jsonl
    """
    from airfleet.operations.audit import open_log

    moment = options.read_since(before, datetime.now(UTC))
    with open_log(project, state) as log:
        count = log.archive(moment, target)
    click.echo(
        f"{count} rows are in {target}" if count else "the audit log has no row from before that moment", err=True
    )


def _choose(
    since: str | None, until: str | None, actor: str | None, source: str | None, outcome: str | None, text: str | None
) -> Filter:
    from airfleet.operations.audit import Filter
    from airfleet_provider.contract.audit_log import AuditOutcome, AuditSource

    now = datetime.now(UTC)
    return Filter(
        options.read_since(since, now) if since else None,
        options.read_since(until, now) if until else None,
        actor,
        AuditSource(source) if source else None,
        AuditOutcome(outcome) if outcome else None,
        text,
    )
