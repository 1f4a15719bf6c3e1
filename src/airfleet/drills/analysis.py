"""Find in an attempt log what a drill did to the work: lost, doubled and killed tasks, and times without a start."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from airfleet.drills.attempt_log import Attempt, TaskInstance


@dataclass(frozen=True, slots=True)
class Window:
    """The times of a drill: the start and end of its load, the fault (`struck`), and the recovery.

    All are seconds of the drill's clock. `recovered` is None if there was nothing to revert.
    """

    began: float
    struck: float
    recovered: float | None
    ended: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two attempts of one instance, the earlier first."""

    first: Attempt
    second: Attempt


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which no attempt started. `began` is in seconds of the drill's clock."""

    began: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What happened to the work. The lists hold every case, so that a person can check each."""

    lost: tuple[TaskInstance, ...]
    doubled: tuple[Pair, ...]
    killed: tuple[Attempt, ...]
    repeated: tuple[Pair, ...]
    usual_gap: Gap
    longest_gap: Gap
    first_start_s: float | None  # seconds from the recovery, or from the fault if there was nothing to revert
    rerun_s: float | None  # seconds from the fault until every attempt that it killed had started again
    started: int
    wanted: int
    rate: float
    wrong: tuple[str, ...] = ()  # wrong answers that tasks got


def analyse(
    attempts: Sequence[Attempt],
    expected: Collection[TaskInstance],
    window: Window,
    *,
    unsure_s: float = 0.0,
    wrong: Sequence[str] = (),
) -> Findings:
    """Analyse the attempts of one drill. Times are in the drill's clock, whose error is at most `unsure_s` seconds."""
    attempts = sorted(attempts, key=lambda one: one.started)
    by_instance: defaultdict[TaskInstance, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_instance[attempt.instance].append(attempt)
    done = {attempt.instance for attempt in attempts if attempt.is_done}
    starts = [one.started for one in attempts if window.began <= one.started <= window.ended]
    killed = tuple(one for one in attempts if not one.is_done)
    return Findings(
        lost=tuple(sorted((set(expected) | set(by_instance)) - done)),
        doubled=tuple(_overlaps(by_instance.values(), unsure_s)),
        killed=killed,
        repeated=tuple(_repeats(by_instance.values())),
        usual_gap=find_gap(starts, window.began, window.struck),
        longest_gap=find_gap(starts, window.struck, window.ended),
        first_start_s=_first_after(attempts, window.struck if window.recovered is None else window.recovered),
        rerun_s=_rerun(killed, by_instance, window.struck),
        started=len(attempts),
        wanted=len(expected),
        rate=len(expected) / (window.ended - window.began) if window.ended > window.began else 0.0,
        wrong=tuple(wrong),
    )


def find_gap(starts: Sequence[float], began: float, ended: float) -> Gap:
    """Return the longest time without a start that overlaps a time span. A gap that began before it counts in full."""
    before = bisect_left(starts, began)
    points = [starts[before - 1] if before else began, *starts[before : bisect_left(starts, ended)], ended]
    seconds, at = max(((after - since, since) for since, after in pairwise(points)), key=lambda gap: gap[0])
    return Gap(at, seconds)


def _first_after(attempts: Iterable[Attempt], moment: float) -> float | None:
    """Return the seconds until the first start after a moment, or None. A start after the load's end counts too."""
    return min((one.started - moment for one in attempts if one.started >= moment), default=None)


def _overlaps(groups: Iterable[Sequence[Attempt]], unsure_s: float) -> Iterable[Pair]:
    """Yield pairs of attempts that certainly ran at the same time. Clocks of two hosts may differ by `unsure_s`."""
    for group in groups:
        for index, first in enumerate(group):
            for second in group[index + 1 :]:
                slack = 0.0 if first.host == second.host else unsure_s
                if second.started + slack < first.last_sign:
                    yield Pair(first, second)


def _repeats(groups: Iterable[Sequence[Attempt]]) -> Iterable[Pair]:
    """Yield pairs in which an attempt started after an earlier one had succeeded: done twice, but not at once."""
    for group in groups:
        for first, second in pairwise(group):
            if first.is_done and second.started >= first.last_sign:
                yield Pair(first, second)


def _rerun(killed: Sequence[Attempt], groups: Mapping[TaskInstance, Sequence[Attempt]], struck: float) -> float | None:
    """Return the seconds from the fault until all killed tasks had started again, or None if some had not."""
    again = []
    for one in killed:
        others = [other.started for other in groups[one.instance] if other.started > one.started]
        if one.started > struck or any(started <= struck for started in others):
            continue
        if not others:
            return None
        again.append(min(others) - struck)
    return max(again, default=None)
