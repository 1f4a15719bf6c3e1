"""`airfleet alerts …`: what is wrong now, who was notified, and answers to it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.errors import AirfleetError, UsageError

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415


@click.group("alerts", short_help="What is wrong now, and who was notified.")
def command() -> None:
    """List alerts, acknowledge, silence and end them, and test the receivers of `notifications` in fleet.yaml.

    \b
    Example:
      airfleet alerts list
      airfleet alerts ack 17 --note "disk is being extended"
      airfleet alerts silence --name DiskFull --for 2h
    """


@command.command("list")
@options.project_option
@options.state
@click.option("--all", "with_resolved", is_flag=True, help="Also alerts that resolved in the last 24 hours.")
@options.as_json
def list_command(project: Path, state: Path | None, with_resolved: bool, as_json: bool) -> None:
    """List the open alerts, the most severe first, with their state and who was notified.

    \b
    Example:
      airfleet alerts list --all
    """
    from airfleet.operations.alerts import open_alerts

    with open_alerts(project, state) as alerts:
        found = alerts.list_alerts(with_resolved=with_resolved)
    if as_json:
        _print_json([{**asdict(one), "state": one.state} for one in found])
        return
    if not found:
        from airfleet.workspace.project import read_fleet

        has_rule = bool(read_fleet(project).notifications.policy.failures)
        more = "" if has_rule else " (a failed run is one only if `notifications.failures` in fleet.yaml names its Dag)"
        click.echo(f"no alerts{more}", err=True)
    for one in found:
        when = one.started_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"{one.id:>6}  {one.severity:<8}  {when}  {_plain(one.state)}  {_plain(one.name)}")
        click.echo(f"        {_plain(one.summary)}")
        for receiver, counts in one.notified.items():
            words = [f"{counts[key]} {key}" for key in ("sent", "unsent", "failed") if counts[key]]
            error = f": {_plain(counts['error'])}" if counts["error"] else ""
            click.echo(f"        {receiver}: {', '.join(words)}{error}")


@command.command("ack")
@options.project_option
@options.state
@click.argument("alerts", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Acknowledge every open alert.")
@click.option("--note", default="", help="What you do about it.")
@options.as_json
def ack_command(
    project: Path, state: Path | None, alerts: tuple[int, ...], every: bool, note: str, as_json: bool
) -> None:
    """Acknowledge alerts: nobody else is notified of them, unless they become more severe.

    \b
    Example:
      airfleet alerts ack 17 18 --note "disk is being extended"
    """
    from airfleet.operations.alerts import open_alerts
    from airfleet.workspace.actor import find_actor

    if bool(alerts) == every:
        raise UsageError("name the alerts, or say --all", hint="airfleet alerts list")
    actor = find_actor()
    with open_alerts(project, state) as opened:
        numbers = opened.list_open() if every else alerts
        for number in numbers:
            opened.acknowledge(number, actor=actor, note=note)
    if as_json:
        _print_json({"acknowledged": list(numbers), "actor": actor})
    else:
        click.echo(f"acknowledged: {', '.join(map(str, numbers)) or 'none'}", err=True)


@command.command("resolve")
@options.project_option
@options.state
@click.argument("alerts", type=int, nargs=-1, required=True)
@click.option("--reason", required=True, help="Why it is over. The alert keeps the reason and your name.")
@options.as_json
def resolve_command(project: Path, state: Path | None, alerts: tuple[int, ...], reason: str, as_json: bool) -> None:
    """End alerts that nothing ends by itself, such as the failed run of a Dag that stays paused.

    Everybody who was notified learns who ended it and why. An alert of Prometheus that still fires begins again
    within about an hour: silence it instead.

    \b
    Example:
      airfleet alerts resolve 17 --reason "the Dag was replaced by finance_close_v2"
    """
    from airfleet.operations.alerts import open_alerts
    from airfleet.workspace.actor import find_actor

    if not reason.strip():
        raise UsageError("--reason is empty", hint="say why the alert is over")
    actor = find_actor()
    with open_alerts(project, state) as opened:
        for number in alerts:
            opened.resolve(number, actor=actor, reason=reason)
    if as_json:
        _print_json({"resolved": list(alerts), "actor": actor, "reason": reason})
    else:
        click.echo(f"resolved: {', '.join(map(str, alerts))}", err=True)


@command.command("silence")
@options.project_option
@options.state
@click.option("--alert", type=int, help="The alerts with the name and labels of this one.")
@click.option("--name", default="", help="The regular expression that the whole name must match.")
@click.option("--source", default="", help="The regular expression that the whole source must match.")
@click.option("--label", "labels", multiple=True, metavar="KEY=PATTERN", help="A label, and what its value must match.")
@click.option("--for", "duration", help="How long, such as 90m or 2h.")
@click.option("--comment", default="", help="Why.")
@click.option("--list", "do_list", is_flag=True, help="List the silences that have not ended.")
@click.option("--end", type=int, metavar="ID", help="End this silence now.")
@options.as_json
def silence_command(
    project: Path,
    state: Path | None,
    alert: int | None,
    name: str,
    source: str,
    labels: tuple[str, ...],
    duration: str | None,
    comment: str,
    do_list: bool,
    end: int | None,
    as_json: bool,
) -> None:
    """Silence the alerts that fit all that is given: they notify nobody until the silence ends.

    What still fires then is notified. Whoever was notified before learns of the end of an alert all the same.

    \b
    Example:
      airfleet alerts silence --name DiskFull --label host=web1 --for 2h --comment "disk is being extended"
      airfleet alerts silence --alert 17 --for 1d
      airfleet alerts silence --list
      airfleet alerts silence --end 3
    """
    from airfleet.operations.alerts import open_alerts
    from airfleet.spec.sections.slas import seconds_of
    from airfleet.workspace.actor import find_actor
    from airfleet_provider.contract.notification_policy import Matcher

    if do_list or end is not None:
        _show_silences(project, state, end, as_json=as_json)
        return
    try:
        seconds = seconds_of(duration or "")
    except ValueError:
        raise UsageError("a silence needs --for and a duration", hint="such as --for 90m, 2h or 1d") from None
    matcher = Matcher(name=_pattern("--name", name), source=_pattern("--source", source), labels=_read_labels(labels))
    if alert is None and matcher == Matcher():
        raise UsageError("this would silence every alert", hint="name some: --alert, --name, --source or --label")
    if alert is not None and matcher != Matcher():
        raise UsageError("--alert already says which alerts", hint="leave out --name, --source and --label")
    with open_alerts(project, state) as alerts:
        if alert is not None:
            matcher = alerts.match_alert(alert)
        number = alerts.silence(matcher, seconds, actor=find_actor(), comment=comment)
    if as_json:
        _print_json({"id": number, "matchers": asdict(matcher), "seconds": seconds})
    else:
        click.echo(f"silence {number} begins; end it with: airfleet alerts silence --end {number}", err=True)


@command.command("test")
@options.project_option
@options.state
@click.argument("receivers", nargs=-1, required=True)
@options.as_json
def test_command(project: Path, state: Path | None, receivers: tuple[str, ...], as_json: bool) -> None:
    """Send a test notification to receivers, on the way of every alert, and wait for its outcome.

    \b
    Example:
      airfleet alerts test team
    """
    from airfleet.operations.alerts import open_alerts

    with open_alerts(project, state) as alerts:
        found = [alerts.test(one) for one in receivers]
    if as_json:
        _print_json([asdict(one) for one in found])
    else:
        for one in found:
            click.echo(f"{one.receiver}: {one.state}{f': {_plain(one.error)}' if one.error else ''}")
    if missing := [one.receiver for one in found if one.state != "sent"]:
        raise AirfleetError(f"not sent yet: {', '.join(missing)}", hint="airfleet logs agents")


def _show_silences(project: Path, state: Path | None, end: int | None, *, as_json: bool) -> None:
    from airfleet.operations.alerts import open_alerts

    with open_alerts(project, state) as alerts:
        if end is not None:
            alerts.end_silence(end)
        found = alerts.list_silences()
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    if not found:
        click.echo("no silences", err=True)
    for one in found:
        until = one.ends_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"{one.id:>6}  until {until}  by {_plain(one.actor)}  {_plain(one.comment)}".rstrip())
        parts = {"source": one.matcher.source, "name": one.matcher.name, **one.matcher.labels}
        click.echo(f"        {', '.join(f'{_plain(key)}={_plain(text)}' for key, text in parts.items() if text)}")


def _pattern(option: str, text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise UsageError(f"{option} {text!r} is not a regular expression: {error}") from None
    return text


def _read_labels(labels: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in labels:
        key, is_there, pattern = text.partition("=")
        if not key or not is_there:
            raise UsageError(f"--label {text!r} is not KEY=PATTERN", hint="such as --label host=web1")
        found[key] = _pattern("--label", pattern)
    return found


def _plain(text: object) -> str:
    from airfleet_provider.contract.text import one_line

    return one_line(text)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=str))
