"""The status of a fleet as one HTML page, without scripts and without external resources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from airfleet.cli import view
from airfleet.operations import fallbacks
from airfleet.operations.fleet_status import Report

STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top }
.up, .ok { color: #17692e } .degraded { color: #8a5a00 } .down, .not { color: #b3261e; font-weight: 600 }
small { color: #666 }"""


def render(report: Report, when: str) -> str:
    """Return the whole page as HTML."""
    wrong: dict[str, list[str]] = {}
    for problem in report.problems:
        hint = f"<br><small>{escape(problem.hint)}</small>" if problem.hint else ""
        wrong.setdefault(problem.where, []).append(f"{escape(problem.what)}{hint}")
    hosts = (
        (
            escape(host.host),
            escape(host.address),
            escape(host.roles),
            _mark(host.state, host.state),
            f"{host.running} of {host.services}" if host.services else "-",
            "<br>".join(wrong.get(host.host, ())),
        )
        for host in report.hosts
    )
    outside = (
        (
            _mark("ok" if observation.is_well else "not", "ok" if observation.is_well else "NOT"),
            escape(observation.what),
            escape(observation.detail),
        )
        for observation in report.health
    )
    names = {host.host for host in report.hosts}
    elsewhere = [line for where, lines in wrong.items() if where not in names for line in lines]
    summary = f"{len(report.problems)} problems" if report.problems else "no problems"
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(report.fleet)}: {summary}</title>',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{escape(report.fleet)}</h1>",
            f"<p>{_mark('down' if report.problems else 'ok', summary)} <small>at {escape(when)}</small></p>",
            *(f"<p>{line}</p>" for line in elsewhere),
            _tabulate(("host", "address", "roles", "state", "services", "what is wrong"), hosts),
            "<h2>From outside</h2>",
            _tabulate(("", "what", "seen"), outside),
            *_list_fallbacks(report),
            f"<p>{report.changes} changes wait for <code>airfleet apply</code></p>" if report.changes else "",
            "</body></html>",
            "",
        ]
    )


def _list_fallbacks(report: Report) -> Iterator[str]:
    lines = list(fallbacks.list_lines(report.courses, view.describe_duration))
    if lines:
        yield "<h2>Slower paths taken</h2>"
        yield f"<pre>{escape(chr(10).join(lines))}</pre>"


def _mark(kind: str, text: str) -> str:
    return f'<span class="{kind}">{escape(text)}</span>'


def _tabulate(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
