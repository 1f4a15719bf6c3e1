"""The status of a fleet as one HTML page, without scripts and without external resources."""

from __future__ import annotations

from airfleet.operations import fallbacks
from airfleet.operations.fleet_status import FleetReport, HostProblem
from airfleet.template import render_template
from airfleet_provider.contract import wording


def render(report: FleetReport, when: str) -> str:
    """Return the whole page as HTML."""
    wrong: dict[str, list[HostProblem]] = {}
    for problem in report.problems:
        wrong.setdefault(problem.where, []).append(problem)
    names = {host.host for host in report.hosts}
    return render_template(
        __package__,
        "fleet_page.html",
        report=report,
        when=when,
        summary=wording.count(len(report.problems), "problem") if report.problems else "no problems",
        wrong=wrong,
        elsewhere=[problem for where, problems in wrong.items() if where not in names for problem in problems],
        slower=list(fallbacks.list_lines(report.courses)),
    )
