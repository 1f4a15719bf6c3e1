"""Render outcomes as one HTML page, which needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airfleet.drills.catalogue import MEASURES
from airfleet.drills.outcome import DrillOutcome
from airfleet.drills.timeline import render_timeline
from airfleet.template import render_template


@dataclass(frozen=True, slots=True)
class _Count:
    """How many cases of one kind a drill had, and whether that breaks its promise."""

    number: int
    is_bad: bool


@dataclass(frozen=True, slots=True)
class _Tile:
    """One figure of a drill."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class _Drill:
    """What the page shows of one drill. `timeline` is SVG, all else is text."""

    name: str
    title: str
    platform: str
    done: str
    promised: str
    is_kept: bool
    broken: tuple[str, ...]
    measure: str
    got: str
    bar: str
    counts: tuple[_Count, ...]
    tiles: tuple[_Tile, ...]
    timeline: str


def render_page(outcomes: Sequence[DrillOutcome], *, title: str, subtitle: str) -> str:
    """Return a page with a table of all drills, and then the figures and the time line of each."""
    return render_template(
        __package__,
        "report.html",
        title=title,
        subtitle=subtitle,
        kept=sum(one.is_kept for one in outcomes),
        drills=[_describe(one) for one in outcomes],
    )


def _describe(one: DrillOutcome) -> _Drill:
    found, drill = one.findings, one.drill
    lost, doubled, killed = len(found.lost), len(found.doubled), len(found.killed)
    got = _seconds(one.got_s) if one.got_s is not None else "never"
    return _Drill(
        name=drill.name,
        title=drill.title,
        platform=one.platform,
        done=drill.done,
        promised=drill.promised,
        is_kept=one.is_kept,
        broken=tuple(one.broken),
        measure=drill.measure,
        got=got,
        bar=_seconds(drill.bar_s),
        counts=(
            _Count(lost, is_bad=lost > 0),
            _Count(doubled, is_bad=doubled > 0),
            _Count(killed, is_bad=killed > 0 and not drill.may_kill),
        ),
        tiles=(
            _Tile(got, MEASURES[drill.measure]),
            _Tile(str(lost), "lost"),
            _Tile(str(doubled), "done twice at once"),
            _Tile(str(killed), "killed"),
            _Tile(f"{found.usual_gap.seconds:.1f} s", "longest gap before"),
            _Tile(f"{found.longest_gap.seconds:.1f} s", "longest gap after"),
            _Tile(f"{found.rate:.2f} /s", f"tasks; {found.wanted:,} wanted, {found.started:,} attempts"),
        ),
        timeline=render_timeline(one),
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"
