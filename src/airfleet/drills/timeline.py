"""Render the time line of one drill as SVG: the attempts on each host, and the events."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from airfleet.drills.attempt_log import Attempt
from airfleet.drills.outcome import DrillEvent, DrillOutcome

_WIDTH = 1080.0
_LEFT = 96.0
_RIGHT = 12.0
_TOP = 58.0
_STARTS = 44.0
_ROW = 5.0
_LANE_GAP = 14.0
_AXIS = 26.0
_LABEL_ROWS = 3
_LETTER = 6.0  # the approximate width of a letter in a label, in pixels


def render_timeline(outcome: DrillOutcome) -> str:
    """Return one SVG. Its colours come from the CSS classes of the page."""
    began = outcome.window.began
    ended = max([outcome.window.ended, *(one.last_sign for one in outcome.attempts)])
    scale = _Scale(began, ended)
    parts = [_render_gap(outcome, scale), _render_starts(outcome.attempts, scale)]
    y = _TOP + _STARTS + _LANE_GAP
    doubled = {one.token for pair in outcome.findings.doubled for one in (pair.first, pair.second)}
    for host in sorted({one.host for one in outcome.attempts}):
        rows = pack([one for one in outcome.attempts if one.host == host])
        height = max(len(rows), 2) * _ROW
        parts.append(f'<text class="host" x="{_LEFT - 10:g}" y="{y + height / 2 + 4:.1f}">{escape(host)}</text>')
        parts.append(
            f'<rect class="lane" x="{_LEFT:g}" y="{y - 2:.1f}" width="{scale.width:g}" height="{height + 3:.1f}"/>'
        )
        for index, row in enumerate(rows):
            parts += [_render_attempt(one, y + index * _ROW, scale, is_doubled=one.token in doubled) for one in row]
        y += height + _LANE_GAP
    parts.append(_render_axis(y, scale))
    parts.append(_render_events(outcome.events, y, scale))
    height = y + _AXIS
    label = escape(f"Time line of {outcome.drill.name} on {outcome.platform}")
    return f'<svg viewBox="0 0 {_WIDTH:g} {height:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def pack(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    """Return the least number of rows in which no two attempts overlap."""
    rows: list[list[Attempt]] = []
    for attempt in sorted(attempts, key=lambda one: one.started):
        row = next((one for one in rows if one[-1].last_sign <= attempt.started), None)
        if row is None:
            rows.append(row := [])
        row.append(attempt)
    return rows


class _Scale:
    """Converts seconds to pixels."""

    def __init__(self, began: float, ended: float) -> None:
        self.began = began
        self.seconds = max(ended - began, 1.0)
        self.width = _WIDTH - _LEFT - _RIGHT

    def x(self, at: float) -> float:
        return _LEFT + (at - self.began) / self.seconds * self.width


def _render_attempt(one: Attempt, y: float, scale: _Scale, *, is_doubled: bool) -> str:
    kind = "doubled" if is_doubled else "done" if one.is_done else "killed"
    x = scale.x(one.started)
    width = max(scale.x(one.last_sign) - x, 1.2)
    how = "done" if one.is_done else f"ended by {one.how}" if one.how else "never ended"
    tip = escape(f"{one.instance}, try {one.number}, {one.last_sign - one.started:.1f} s, {how}")
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_ROW - 1.2:.1f}">'
        f"<title>{tip}</title></rect>"
    )


def _render_starts(attempts: Sequence[Attempt], scale: _Scale) -> str:
    """Return the starts per second as a strip of bars."""
    step = max(1, round(scale.seconds / 240))
    counts: dict[int, int] = {}
    for one in attempts:
        slot = int((one.started - scale.began) // step)
        counts[slot] = counts.get(slot, 0) + 1
    most = max(counts.values(), default=1)
    base = _TOP + _STARTS
    bars = [
        f'<rect class="starts" x="{scale.x(scale.began + slot * step):.1f}" y="{base - height:.1f}" '
        f'width="{max(step / scale.seconds * scale.width - 0.6, 0.8):.1f}" height="{height:.1f}"/>'
        for slot, count in sorted(counts.items())
        if slot >= 0 and (height := count / most * (_STARTS - 6))
    ]
    text = f'<text class="host" x="{_LEFT - 10:g}" y="{base - _STARTS / 2 + 4:.1f}">starts / {step} s</text>'
    line = f'<line class="axis" x1="{_LEFT:g}" x2="{_LEFT + scale.width:g}" y1="{base:g}" y2="{base:g}"/>'
    return text + line + "".join(bars)


def _render_gap(outcome: DrillOutcome, scale: _Scale) -> str:
    """Return the longest time without a start, as a shade in the strip of starts."""
    gap = outcome.findings.longest_gap
    x = scale.x(gap.began)
    width = gap.seconds / scale.seconds * scale.width
    return (
        f'<rect class="gap" x="{x:.1f}" y="{_TOP:g}" width="{width:.1f}" height="{_STARTS:g}">'
        f"<title>no start for {gap.seconds:.1f} s</title></rect>"
    )


def _render_events(events: Sequence[DrillEvent], bottom: float, scale: _Scale) -> str:
    """Return a line for each event, with its label in the first row where it covers no other label."""
    parts = []
    taken = [0.0] * _LABEL_ROWS
    for event in sorted(events, key=lambda one: one.at):
        x = scale.x(event.at)
        text = f"{event.at - scale.began:.0f} s: {event.what}" + (f" ({event.host})" if event.host else "")
        width = len(text) * _LETTER
        anchor, left = ("end", x - 5 - width) if x + 5 + width > _WIDTH else ("start", x + 5)
        row = next((index for index, right in enumerate(taken) if right < left), _LABEL_ROWS - 1)
        taken[row] = left + width
        y = 12.0 + 15.0 * row
        at = x - 5 if anchor == "end" else left
        parts.append(f'<line class="event {event.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9:.1f}" y2="{bottom:.1f}"/>')
        parts.append(
            f'<text class="label {event.kind}" x="{at:.1f}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
        )
    return "".join(parts)


def _render_axis(y: float, scale: _Scale) -> str:
    step = next((one for one in (5, 10, 15, 30, 60, 120, 300) if scale.seconds / one <= 14), 600)
    parts = [f'<line class="axis" x1="{_LEFT:g}" x2="{_LEFT + scale.width:g}" y1="{y:.1f}" y2="{y:.1f}"/>']
    for at in range(0, int(scale.seconds) + 1, step):
        x = scale.x(scale.began + at)
        label = f"{at} s" if step < 60 else f"{at // 60} min"
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y + 4:.1f}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y + 16:.1f}">{label}</text>')
    return "".join(parts)
