"""Render outcomes as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from airfleet.drills.catalogue import MEASURES
from airfleet.drills.outcome import DrillOutcome

_HEAD = ("drill", "on", "got", "bar", "lost", "doubled", "killed", "kept")


def render_text(outcomes: Sequence[DrillOutcome]) -> str:
    """Return a table, and below it every broken promise."""
    rows = [_HEAD, *(_row(one) for one in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    broken = [f"{one.drill.name} on {one.platform}: {what}" for one in outcomes for what in one.broken]
    meant = [f"{name}: {text}" for name, text in MEASURES.items() if any(one.drill.measure == name for one in outcomes)]
    return "\n".join([*table, "", *meant, *(["", *broken] if broken else [])]) + "\n"


def _row(one: DrillOutcome) -> tuple[str, ...]:
    found = one.findings
    got = "never" if one.got_s is None else f"{one.got_s:.1f} s"
    bar = "" if one.drill.bar_s is None else f"{one.drill.bar_s:g} s"
    counts = (str(len(found.lost)), str(len(found.doubled)), str(len(found.killed)))
    return (one.drill.name, one.platform, f"{got} ({one.drill.measure})", bar, *counts, "yes" if one.is_kept else "no")
