"""Invented ledgers: lines and attempts in the form that a drill's tasks write."""

from __future__ import annotations

import json
from itertools import count

from airfleet.drills.analysis import Findings, Gap
from airfleet.drills.attempt_log import Attempt, TaskInstance

_tokens = count(1)


def lines_of(
    token: str,
    *,
    wall: float,
    mono: float,
    seconds: float | None,
    how: str = "ok",
    beats: tuple[float, ...] = (),
    host: str = "w1",
    boot: str = "b1",
    task: str = "short",
    number: int = 1,
) -> list[str]:
    """Return the lines of one attempt. Without `seconds` it has no end."""
    place = {"dag": "d", "run": "r", "task": task, "map": -1, "try": number}
    said = [
        {"what": "start", "attempt": token, **place, "host": host, "pid": 7, "boot": boot, "wall": wall, "mono": mono}
    ]
    said += [{"what": "beat", "attempt": token, "mono": mono + at} for at in beats]
    if seconds is not None:
        said.append({"what": "end", "attempt": token, "how": how, "mono": mono + seconds})
    return [json.dumps(one) for one in said]


def instance(run: str, task: str = "short") -> TaskInstance:
    return TaskInstance("d", run, task)


def attempt(
    run: str, started: float, seconds: float = 1.0, *, how: str | None = "ok", host: str = "w1", number: int = 1
) -> Attempt:
    return Attempt(
        instance=instance(run),
        number=number,
        token=f"t{next(_tokens)}",
        host=host,
        pid=7,
        started=started,
        last_sign=started + seconds,
        how=how,
    )


def findings(**changes: object) -> Findings:
    """Return the findings of a drill without faults."""
    whole: dict[str, object] = {
        "lost": (),
        "doubled": (),
        "killed": (),
        "repeated": (),
        "usual_gap": Gap(0.0, 1.0),
        "longest_gap": Gap(60.0, 2.0),
        "first_start_s": 1.0,
        "rerun_s": None,
        "started": 100,
        "wanted": 100,
        "rate": 1.25,
    }
    return Findings(**{**whole, **changes})  # type: ignore[arg-type]
