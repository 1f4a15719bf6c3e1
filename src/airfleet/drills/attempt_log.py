"""The attempt log, which a drill's tasks write themselves: parse its lines into attempts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_START = ("attempt", "dag", "run", "task", "map", "try", "host", "pid", "boot", "wall", "mono")
_WANTED = {
    "start": _START,
    "beat": ("attempt", "mono"),
    "wrong": ("attempt", "said"),
    "end": ("attempt", "mono", "how"),
}


@dataclass(frozen=True, slots=True, order=True)
class TaskInstance:
    """One task instance of the load, which must be done exactly once."""

    dag: str
    run: str
    task: str
    map_index: int = -1

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag}.{self.task}{mapped} of {self.run}"


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of the hosts, compared with the clock of the drill, in seconds.

    `booted` maps a boot to the time at which its monotonic clock was zero; a change of the time of day does not affect
    it. For a boot that is not known, `ahead_s` says how far the host's time of day is ahead. The error of all of them
    is at most `unsure_s`.
    """

    booted: Mapping[str, float] = field(default_factory=dict)
    ahead_s: Mapping[str, float] = field(default_factory=dict)
    unsure_s: float = 0.0

    def place(self, said: Mapping[str, Any]) -> float:
        """Return the time at which a line was written, in the drill's clock."""
        if said["boot"] in self.booted:
            return float(self.booted[said["boot"]] + said["mono"])
        return float(said["wall"] - self.ahead_s.get(said["host"], 0.0))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task instance. Times are seconds of the drill's clock."""

    instance: TaskInstance
    number: int
    token: str
    host: str
    pid: int
    started: float
    last_sign: float
    how: str | None  # "ok", or what else ended the attempt, or None if it did not record its end

    @property
    def is_done(self) -> bool:
        return self.how == "ok"


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """All attempts in the order of their starts, the lines that could not be parsed, and the wrong answers of tasks."""

    attempts: tuple[Attempt, ...]
    unread: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def read_log(lines: Iterable[str], clocks: Clocks | None = None) -> AttemptLog:
    """Parse lines of any number of hosts, in any order. A line that a host did not finish is kept in `unread`.

    The length of an attempt comes from the monotonic clock, so that a change of a host's clock does not affect it.
    """
    clocks = clocks or Clocks()
    starts: dict[str, dict[str, Any]] = {}
    signs: dict[str, float] = {}
    ends: dict[str, tuple[float, str]] = {}
    unread, wrong = [], []
    for line in lines:
        if not line.strip():
            continue
        said = _parse(line)
        if said is None:
            unread.append(line)
        elif said["what"] == "start":
            starts[said["attempt"]] = said
        elif said["what"] == "beat":
            signs[said["attempt"]] = max(said["mono"], signs.get(said["attempt"], said["mono"]))
        elif said["what"] == "wrong":
            wrong.append((said["attempt"], said["said"]))
        else:
            ends.setdefault(said["attempt"], (said["mono"], said["how"]))
    attempts = []
    for token, said in starts.items():
        began = clocks.place(said)
        ended, how = ends.get(token, (signs.get(token, said["mono"]), None))
        attempts.append(
            Attempt(
                instance=TaskInstance(said["dag"], said["run"], said["task"], said["map"]),
                number=said["try"],
                token=token,
                host=said["host"],
                pid=said["pid"],
                started=began,
                last_sign=began + ended - said["mono"],
                how=how,
            )
        )
    names = {one.token: str(one.instance) for one in attempts}
    return AttemptLog(
        tuple(sorted(attempts, key=lambda one: (one.started, one.token))),
        tuple(unread),
        tuple(f"{text} in {names.get(token, 'an attempt that is not known')}" for token, text in wrong),
    )


def _parse(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
        wanted = _WANTED[said["what"]]
        return said if all(key in said for key in wanted) else None
    except (ValueError, TypeError, KeyError):
        return None
