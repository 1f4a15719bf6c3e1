"""What follows from findings about servers that somebody else runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from airfleet.errors import AirfleetError
from airfleet.workspace.diagnosis import Diagnosis, Level

# A task start takes some twenty round trips, one after another.
SLOW_MS, TOO_SLOW_MS = 5.0, 100.0


def judge_round_trip(subject: str, took_ms: float, host: str = "") -> Diagnosis:
    """Return what the time of a round trip means. `host` is where the round trip starts."""
    hint = "run airfleet where the server is: a task start takes some twenty round trips"
    level: Level = "error" if took_ms > TOO_SLOW_MS else "warning" if took_ms > SLOW_MS else "ok"
    place = f" from {host}" if host else ""
    return Diagnosis(level, subject, f"a round trip{place} takes {took_ms:.1f} ms", "" if level == "ok" else hint)


def refuse(found: Iterable[Diagnosis], what: str, where: str, warn: Callable[[str], None]) -> None:
    """Pass what is only unwise to `warn`.

    Raises:
        AirfleetError: Some of the findings are errors. The text lists all of them, each with what its owner can do.
    """
    listed = tuple(found)
    for one in listed:
        if one.level == "warning":
            warn(f"{one.subject}: {one.what}; {one.hint}")
    errors = [one for one in listed if one.level == "error"]
    if errors:
        text = "".join(f"\n- {one.what}\n  {one.hint}" for one in errors)
        raise AirfleetError(f"{what} lacks what a platform needs:{text}", where=where)
