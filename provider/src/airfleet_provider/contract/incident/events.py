"""Events of a platform on one time line, and the forms in which a person reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from airfleet_provider.contract.text import one_line

# Equal events that follow each other within this time are shown as one.
TOGETHER = timedelta(minutes=1)
LONGEST = 200
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\|*_`[]<>#"})


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """Something that happened. `kind` says what wrote it down; `count` equal events end at `last`."""

    at: datetime
    kind: str
    subject: str
    what: str
    actor: str = ""
    is_bad: bool = False
    count: int = 1
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class TimeLine:
    """What happened in a span of time. `is_cut` means that a source had more than was read."""

    since: datetime
    until: datetime
    events: Sequence[IncidentEvent]
    is_cut: bool = False


def merge(events: Iterable[IncidentEvent]) -> list[IncidentEvent]:
    """Return events in the order of their times, with those that are equal and close to each other as one."""
    merged: list[IncidentEvent] = []
    newest: dict[tuple[str, str, str, str], int] = {}
    for event in sorted(events, key=lambda one: one.at):
        key = (event.kind, event.subject, event.what, event.actor)
        place = newest.get(key)
        if place is not None and event.at - (merged[place].last or merged[place].at) <= TOGETHER:
            merged[place] = replace(merged[place], count=merged[place].count + 1, last=event.at)
        else:
            newest[key] = len(merged)
            merged.append(event)
    return merged


def list_lines(line: TimeLine) -> Iterator[str]:
    """Yield a time line for a terminal. What went wrong has a `!`. Times are in UTC."""
    kinds = max((len(one.kind) for one in line.events), default=0)
    for one in line.events:
        mark = "!" if one.is_bad else " "
        yield f"{one.at:%Y-%m-%d %H:%M:%S} {mark} {one.kind:<{kinds}}  {one_line(tell(one), LONGEST)}"


def tell(one: IncidentEvent) -> str:
    """Return what happened, with how often and by whom."""
    times = f" ({one.count} times)" if one.count > 1 else ""
    by = f" by {one.actor}" if one.actor else ""
    return f"{one.subject}: {one.what}{times}{by}" if one.subject else f"{one.what}{times}{by}"


def to_markdown(line: TimeLine) -> Iterator[str]:
    """Yield a draft of a review: when it was, what happened how often, and the time line. Names are escaped."""
    yield f"# Incident of {line.since:%Y-%m-%d %H:%M} to {line.until:%Y-%m-%d %H:%M} UTC"
    yield ""
    bad = Counter(one.kind for one in line.events for _ in range(one.count) if one.is_bad)
    told = ", ".join(f"{kind} {count}" for kind, count in bad.most_common()) or "nothing"
    yield f"What went wrong: {told}."
    if line.is_cut:
        yield ""
        yield "A source had more events than are shown."
    yield ""
    yield "| time (UTC) | | kind | what happened | by |"
    yield "|---|---|---|---|---|"
    for one in line.events:
        times = f" ({one.count} times)" if one.count > 1 else ""
        subject = f"**{_escape(one.subject)}**: " if one.subject else ""
        mark = "!" if one.is_bad else ""
        cells = (f"{one.at:%H:%M:%S}", mark, one.kind, f"{subject}{_escape(one.what)}{times}", _escape(one.actor))
        yield f"| {' | '.join(cells)} |"
    yield ""
    for head in ("What users noticed", "Cause", "What helped", "What will be done, and by whom"):
        yield f"## {head}"
        yield ""


def to_json(line: TimeLine) -> Mapping[str, object]:
    """Return a time line as an object that JSON knows."""
    return {
        "since": line.since.isoformat(),
        "until": line.until.isoformat(),
        "is_cut": line.is_cut,
        "events": [
            {
                "at": one.at.isoformat(),
                "last": (one.last or one.at).isoformat(),
                "kind": one.kind,
                "subject": one.subject,
                "what": one.what,
                "actor": one.actor,
                "is_bad": one.is_bad,
                "count": one.count,
            }
            for one in line.events
        ],
    }


def _escape(text: str) -> str:
    return one_line(text, LONGEST).translate(_SPECIAL)
