"""`airfleet trace`: where the time of a run went."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from airfleet.cli import options
from airfleet_provider.contract.run_trace import spans
from airfleet_provider.contract.run_trace.spans import SpanPart, Trace, Try, UserSpan
from airfleet_provider.contract.text import one_line

NARROW, WIDE, LONGEST_NAME = 80, 160, 40
MOST_USER_SPANS = 20
SIGNS = {SpanPart.READY: "·", SpanPart.QUEUED: "-", SpanPart.RUNNING: "█"}
SCALE = "· waits for a slot   - waits for a worker   █ runs   = code of a task   * on the critical path"


@click.command("trace", short_help="Show where the time of a run went, and what decided when it ended.")
@click.argument("dag")
@click.argument("run", default="latest")
@click.option("-n", "--tries", type=click.IntRange(1), default=60, show_default=True, help="Tries to show.")
@options.project_option
@options.state
@options.as_json
def command(dag: str, run: str, tries: int, project: Path, state: Path | None, as_json: bool) -> None:
    """Show the tries of a run as a waterfall, with the critical path and its longest wait.

    RUN is a run id, a part of one, or `latest`. It is read from the database, so tasks pay nothing for it, and runs of
    any age have it. If there are more tries than are shown, those of the critical path and the longest are.

    \b
    Example:
      airfleet trace sales
      airfleet trace sales 2026-11-29 --json
    """
    from airfleet.operations import explanation, run_trace  # noqa: PLC0415 - `--help` needs none of it

    trace = run_trace.look(explanation.find_place(project, state), dag, run)
    if as_json:
        click.echo(json.dumps(spans.to_json(trace), indent=2))
        return
    width = max(NARROW, min(WIDE, shutil.get_terminal_size((WIDE, 24)).columns))
    for line in list_lines(trace, tries, width):
        click.echo(line)


def list_lines(trace: Trace, most: int, width: int) -> Iterator[str]:
    """Yield the lines of a trace for a terminal of this width. Names are those of users, so they are escaped."""
    run = trace.run
    whole = (run.end - run.begun).total_seconds()
    release = f", release {run.release[:12]}" if run.release else ""
    yield one_line(f"{run.dag} {run.run}: {run.state}, {whole:.1f} s{release}")
    shown = spans.choose(trace, most)
    if not shown:
        yield "No task of it has begun."
        return
    names = {one: _shorten(one_line(one.name)) for one in shown}
    named = [_name_user_span(*own) for one in shown for own in spans.list_user_spans(run, one)]
    left = max(map(len, [*names.values(), *named]))
    room = max(20, width - left - 16)
    critical = set(trace.critical)
    for one in shown:
        mark = "*" if one in critical else " "
        begun = one.started or one.queued or one.scheduled
        took = (((one.ended or run.end) - begun).total_seconds()) if begun else 0.0
        yield f"{mark} {names[one]:<{left}} {_draw(trace, one, room)} {took:8.1f} s"
        yield from _list_user_spans(trace, one, left, room)
    hidden = len({span.owner for span in trace.spans}) - len(shown)
    if hidden > 0:
        yield f"  {hidden} more tries: -n shows more"
    yield ""
    if trace.critical:
        yield one_line(f"critical path: {' > '.join(one.name for one in trace.critical)}", 2000)
        yield f"of it {trace.running_s:.1f} s running and {trace.waiting_s:.1f} s waiting"
    else:
        yield one_line(f"No task of it has started yet: `airfleet explain {run.dag} {run.run}` says why.", 2000)
    if said := spans.tell_wait(trace):
        yield one_line(said)
    yield SCALE


def _list_user_spans(trace: Trace, owner: Try, left: int, room: int) -> Iterator[str]:
    """Yield a line for each span of the code of a try, the first ones only if there are many."""
    own = list(spans.list_user_spans(trace.run, owner))
    for depth, one in own[:MOST_USER_SPANS]:
        first, last = _find_place(trace, one.begin, room), _find_place(trace, one.end, room)
        bar = f"{' ' * first}{'=' * max(1, last - first)}"[:room]
        name = _name_user_span(depth, one)
        said = ", ".join(f"{key}={value}" for key, value in one.attributes.items())
        told = one_line(" ".join(filter(None, (f"{one.error}!" if one.error else "", said))), 200)
        yield f"  {name:<{left}} |{bar:<{room}}| {one.seconds:8.1f} s{f'  {told}' if told else ''}"
    if len(own) > MOST_USER_SPANS:
        yield f"  {len(own) - MOST_USER_SPANS} more spans of its code: --json has all"


def _name_user_span(depth: int, one: UserSpan) -> str:
    return _shorten(one_line(f"{'  ' * min(depth, 5)}> {one.name}"))


def _draw(trace: Trace, owner: Try, room: int) -> str:
    line = [" "] * room
    for span in trace.spans:
        if span.owner == owner:
            first = _find_place(trace, span.begin, room)
            last = _find_place(trace, span.end, room)
            line[first : max(last, first + 1)] = SIGNS[span.part] * (max(last, first + 1) - first)
    return f"|{''.join(line[:room])}|"


def _find_place(trace: Trace, at: datetime, room: int) -> int:
    whole = (trace.run.end - trace.run.begun).total_seconds() or 1.0
    share = (at - trace.run.begun).total_seconds() / whole
    return min(room - 1, max(0, int(share * room)))


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
