"""Compare a drill's findings with its bar, and list the promises that broke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airfleet.drills.analysis import Findings, Window
from airfleet.drills.attempt_log import Attempt
from airfleet.drills.catalogue import Drill
from airfleet.drills.load import MINIMUM_RATE
from airfleet_provider.contract import wording


@dataclass(frozen=True, slots=True)
class DrillEvent:
    """An event of a drill: a fault, its end, or an observation. `at` is in the drill's clock."""

    at: float
    kind: Literal["fault", "back", "seen"]
    what: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class DrillOutcome:
    """The result of one drill on one platform."""

    drill: Drill
    platform: str
    window: Window
    attempts: tuple[Attempt, ...]
    events: tuple[DrillEvent, ...]
    findings: Findings
    broken: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        """Return whether the drill kept all its promises."""
        return not self.broken

    @property
    def got_s(self) -> float | None:
        return measure(self.drill, self.findings)


def measure(drill: Drill, findings: Findings) -> float | None:
    """Return the seconds that a drill measures, or None if the measured event did not happen."""
    match drill.measure:
        case "longest gap":
            return findings.longest_gap.seconds
        case "run again":
            return findings.rerun_s
        case "first start":
            return findings.first_start_s


def judge(
    drill: Drill,
    findings: Findings,
    *,
    struck_hosts: Sequence[str] = (),
    seen: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return a line for each broken promise. `seen` are broken promises that were observed in other ways."""
    broken = list(seen)
    if findings.rate < MINIMUM_RATE:
        broken.append(f"the load was {findings.rate:.2f} tasks/s, below {MINIMUM_RATE:g}, which proves nothing")
    if findings.lost:
        broken.append(f"{wording.count(len(findings.lost), 'task')} lost, the first {findings.lost[0]}")
    if findings.doubled:
        first = findings.doubled[0]
        hosts = f"{first.first.host} and {first.second.host}"
        broken.append(
            f"{wording.count(len(findings.doubled), 'pair')} of attempts at once,"
            f" the first {first.first.instance} on {hosts}"
        )
    unforgiven = [one for one in findings.killed if not (drill.may_kill and one.host in struck_hosts)]
    if unforgiven:
        broken.append(
            f"{wording.count(len(unforgiven), 'attempt')} killed,"
            f" the first {unforgiven[0].instance} on {unforgiven[0].host}"
        )
    if findings.wrong:
        broken.append(f"{wording.count(len(findings.wrong), 'wrong answer')}, the first: {findings.wrong[0]}")
    got = measure(drill, findings)
    if drill.bar_s is not None and got is None:
        broken.append(f"{drill.measure}: never within the drill; the bar is {drill.bar_s:g} s")
    elif drill.bar_s is not None and got is not None and got > drill.bar_s:
        broken.append(f"{drill.measure}: {got:.1f} s; the bar is {drill.bar_s:g} s")
    return tuple(broken)


def to_json(outcome: DrillOutcome) -> dict[str, Any]:
    """Return the figures of one drill as JSON, without its attempts."""
    findings, drill = outcome.findings, outcome.drill
    return {
        "name": drill.name,
        "done": str(drill.fault),
        "platform": outcome.platform,
        "measure": drill.measure,
        "bar_s": drill.bar_s,
        "aim_s": drill.aim_s,
        "got_s": _round(outcome.got_s),
        "lost": len(findings.lost),
        "doubled": len(findings.doubled),
        "killed": len(findings.killed),
        "repeated": len(findings.repeated),
        "wrong": len(findings.wrong),
        "kept": outcome.is_kept,
        "broken": list(outcome.broken),
        "tasks_per_s": _round(findings.rate),
        "attempts": findings.started,
        "wanted": findings.wanted,
        "usual_gap_s": _round(findings.usual_gap.seconds),
        "longest_gap_s": _round(findings.longest_gap.seconds),
        "first_start_s": _round(findings.first_start_s),
        "rerun_s": _round(findings.rerun_s),
        "length_s": _round(outcome.window.ended - outcome.window.began),
    }


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
