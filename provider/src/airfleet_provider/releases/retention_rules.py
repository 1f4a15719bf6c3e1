"""Which releases stay: a pure decision over the known facts of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

# A release that was built, checked or requested within this time is about to be used.
GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KnownRelease:
    """The known facts of one release that still has its files."""

    id: str
    built_at: datetime
    used_at: datetime
    live_at: datetime | None = None
    is_live: bool = False
    is_previous: bool = False
    is_pinned: bool = False
    unfinished_runs: int = 0
    deployment: int | None = None


def judge(known: Sequence[KnownRelease], keep: int, now: datetime) -> dict[str, str]:
    """Return the reason to keep each release, by id; a release without a reason is missing and can be removed."""
    by_life = sorted((one for one in known if one.live_at), key=lambda one: (one.live_at, one.id), reverse=True)
    by_birth = sorted(known, key=lambda one: (one.built_at, one.id), reverse=True)
    lived, born = ({one.id for one in ordered[:keep]} for ordered in (by_life, by_birth))
    found = {one.id: _find_reason(one, keep, now, lived=one.id in lived, born=one.id in born) for one in known}
    return {release: reason for release, reason in found.items() if reason}


def _find_reason(one: KnownRelease, keep: int, now: datetime, *, lived: bool, born: bool) -> str:
    if one.is_live:
        return "live"
    if one.is_previous:
        return "the one before the live one"
    if one.is_pinned:
        return "pinned"
    if one.unfinished_runs:
        return f"{one.unfinished_runs} unfinished runs"
    if one.deployment is not None:
        return f"deployment {one.deployment} is not over"
    if lived:
        return f"one of the last {keep} that were live"
    if born:
        return f"one of the last {keep} that were built"
    return "used within the last hour" if now - one.used_at < GRACE else ""
