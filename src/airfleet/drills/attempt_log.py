"""The ledger that a drill's tasks write themselves: lines in, attempts out."""

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
    """One task instance: what has to be done once."""

    dag: str
    run: str
    task: str
    map_index: int = -1

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag}.{self.task}{mapped} of {self.run}"


@dataclass(frozen=True, slots=True)
class Clocks:
    """What is known of the hosts' clocks, in seconds of the drill's own.

    `booted` is when the monotonic clock of a boot stood at zero, which no change of the time of day touches; where a
    boot is not known, `ahead_s` says how far a host's time of day is ahead. All of it is known to `unsure_s`.
    """

    booted: Mapping[str, float] = field(default_factory=dict)
    ahead_s: Mapping[str, float] = field(default_factory=dict)
    unsure_s: float = 0.0

    def place(self, said: Mapping[str, Any]) -> float:
        """When a line was written, in the drill's clock."""
        if said["boot"] in self.booted:
            return float(self.booted[said["boot"]] + said["mono"])
        return float(said["wall"] - self.ahead_s.get(said["host"], 0.0))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to do a task instance, in seconds of the drill's clock."""

    instance: TaskInstance
    number: int
    token: str
    host: str
    pid: int
    started: float
    last_sign: float
    how: str | None  # "ok", what ended it instead, or None when it never said that it ended

    @property
    def is_done(self) -> bool:
        return self.how == "ok"


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """All attempts by their start, the lines that no attempt could be made of, and the wrong answers that tasks got."""

    attempts: tuple[Attempt, ...]
    unread: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def read_log(lines: Iterable[str], clocks: Clocks | None = None) -> AttemptLog:
    """Attempts of any number of hosts' lines in any order; a line torn by a lost machine is kept as unread.

    An attempt's length is taken from the monotonic clock, so that a step of a host's clock does not stretch it.
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
