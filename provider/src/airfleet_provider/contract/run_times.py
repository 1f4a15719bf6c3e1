"""How long the next run of a task will take, from its last ones, and how well that was predicted before (ADR 72).

The prediction is the median and the 95th percentile of the last runs. A task whose run times change is followed within
`WINDOW` runs. The same is done for every past run, so that the error is known and not assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# A prediction is made from so many runs, and needs at least so many.
WINDOW, LEAST_RUNS = 20, 10
# So many runs of each task are read. The past predictions are judged on them.
MOST_RUNS = 100
SHARE = 0.95
# A time-out that no run comes near: this much above the 99th percentile, and this much above the longest run.
ABOVE_P99, ABOVE_LONGEST = 3.0, 1.5
LEAST_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class RunTimePrediction:
    """Seconds that the next run of a task takes, and how such predictions did. Shares are between 0 and 1.

    `judged` past runs were predicted in the same way from those before them. `held` is the share of them that took no
    longer than their `p95_s`. It is None without past predictions, as are the median errors: that of the prediction by
    the median, and that of the guess that a run takes as long as the one before it.
    """

    runs: int
    p50_s: float
    p95_s: float
    timeout_s: int
    judged: int
    held: float | None
    error_s: float | None
    naive_error_s: float | None


def predict(durations: Sequence[float]) -> RunTimePrediction | None:
    """Return the prediction from the run times of a task in the order of their ends; None from too few."""
    if len(durations) < LEAST_RUNS:
        return None
    last = durations[-WINDOW:]
    judged = range(LEAST_RUNS, len(durations))
    windows = {at: durations[max(0, at - WINDOW) : at] for at in judged}
    held = [durations[at] <= find_share(windows[at], SHARE) for at in judged]
    errors = [abs(durations[at] - median(windows[at])) for at in judged]
    naive = [abs(durations[at] - durations[at - 1]) for at in judged]
    longest = max(ABOVE_P99 * find_share(durations, 0.99), ABOVE_LONGEST * max(durations), LEAST_TIMEOUT_S)
    return RunTimePrediction(
        runs=len(durations),
        p50_s=median(last),
        p95_s=find_share(last, SHARE),
        timeout_s=math.ceil(longest / 60) * 60,
        judged=len(judged),
        held=sum(held) / len(held) if held else None,
        error_s=median(errors) if errors else None,
        naive_error_s=median(naive) if naive else None,
    )


def find_share(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
