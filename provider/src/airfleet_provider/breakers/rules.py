"""When a breaker changes its state. No I/O, no clock, no randomness (ADR 49)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from airfleet_provider.contract.breaker_rules import LAST_WAVE, BreakerRule, BreakerState

# A chosen task instance that has not started after this time is replaced: a limit of its Dag or its slot pool may keep
# it.
START_S = 10.0
# A chosen task instance that waits longer for a worker is replaced, too.
QUEUED_S = 300.0
# A probe that runs for this time without a report has got through: an outage shows at the first calls, and a task of an
# hour must not keep the breaker open for an hour.
PROBE_S = 300.0
# A half-open breaker for which no task waits closes after this time.
IDLE_S = 300.0
# So many probes that ended for reasons of their own count as one that passed: they did not find the service away.
OTHERS = 3


class ProbeOutcome(StrEnum):
    """What a probe has shown. The values are those of the table `airfleet.breaker_probe`."""

    CHOSEN = "chosen"
    PASSED = "passed"
    FAILED = "failed"
    # It ended for a reason of its own.
    OTHER = "other"
    # It could not start, so nothing called the service. Another one takes its place in the wave.
    NOT_STARTED = "not-started"


# What frees the place of a probe in its wave, without a word about the service.
UNDECIDED = (ProbeOutcome.OTHER, ProbeOutcome.NOT_STARTED)


@dataclass(frozen=True, slots=True)
class ServiceFailure:
    """An error of a task instance which says that the service is away."""

    instance: str
    worker: str


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A breaker at one moment.

    `probe_in_s` is the time to the next probe, or None if a person must close it. `idle_s` is the time since it was
    moved or chose a probe, or None if a task waits for it.
    """

    name: str
    state: BreakerState
    generation: int
    wave: int = 0
    failed_probes: int = 0
    probe_in_s: float | None = None
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerMove:
    """The next state of a breaker."""

    state: BreakerState
    reason: str
    wave: int = 0
    failed_probes: int = 0
    probe_in_s: float | None = None


def should_open(rule: BreakerRule, recent: Collection[ServiceFailure]) -> bool:
    """Return whether the failures of the last `window_s` seconds open a closed breaker.

    One task instance that fails again and again does not: the fault may be its own. Neither does one worker: the fault
    may be the network of its host.
    """
    instances, workers = {one.instance for one in recent}, {one.worker for one in recent}
    return len(instances) >= rule.failures and len(workers) >= rule.workers


def judge_probe(state: str | None, age_s: float, outcome: ProbeOutcome) -> ProbeOutcome:
    """Return what a probe has shown. `state` is that of its task instance; None if its try is over and gone.

    A failed probe has reported that itself. `age_s` is the time since it was chosen, or since it runs.
    """
    if outcome is not ProbeOutcome.CHOSEN:
        return outcome
    if state in ("success", "deferred", "up_for_reschedule", "awaiting_input"):
        return ProbeOutcome.PASSED
    if state in ("scheduled", "queued"):
        return ProbeOutcome.NOT_STARTED if age_s > (START_S if state == "scheduled" else QUEUED_S) else outcome
    if state in ("upstream_failed", "removed"):
        return ProbeOutcome.NOT_STARTED
    if state == "running":
        return ProbeOutcome.PASSED if age_s > PROBE_S else outcome
    return ProbeOutcome.OTHER


def decide(
    breaker: BreakerStatus, rule: BreakerRule, probes: Iterable[ProbeOutcome], *, is_more_waiting: bool
) -> BreakerMove | None:
    """Return the next state of a breaker, or None if it stays as it is.

    `probes` are those of its generation. `is_more_waiting` says whether a task waits that is no probe yet.
    """
    if breaker.state is BreakerState.OPEN and breaker.probe_in_s is not None and breaker.probe_in_s <= 0:
        return BreakerMove(BreakerState.HALF_OPEN, "time to probe", 1, breaker.failed_probes)
    if breaker.state is not BreakerState.HALF_OPEN:
        return None
    found = list(probes)
    failed, open_ones = found.count(ProbeOutcome.FAILED), found.count(ProbeOutcome.CHOSEN)
    passed = found.count(ProbeOutcome.PASSED) + found.count(ProbeOutcome.OTHER) // OTHERS
    if failed and failed >= passed:
        wait = min(rule.probe_after_s * 2.0**breaker.failed_probes, rule.probe_at_most_s)
        return BreakerMove(
            BreakerState.OPEN, "a probe failed", failed_probes=breaker.failed_probes + 1, probe_in_s=wait
        )
    # Fewer failed than got through: the fault of those that failed is their own.
    is_over = passed + failed >= breaker.wave
    if is_over and breaker.wave >= LAST_WAVE:
        return BreakerMove(BreakerState.CLOSED, f"{passed} tasks got through")
    if is_over:
        return BreakerMove(BreakerState.HALF_OPEN, f"{passed} of {breaker.wave} got through", 2 * breaker.wave)
    # After a wave that got through, nobody may be left: then nothing else would ever close it.
    if (passed or breaker.wave > 1) and not open_ones and not is_more_waiting:
        return BreakerMove(BreakerState.CLOSED, "all tasks that waited got through")
    # No task may come for hours, and the breaker would be shown as open meanwhile.
    if breaker.idle_s is not None and breaker.idle_s > IDLE_S and not open_ones:
        return BreakerMove(BreakerState.CLOSED, "no task waits for it; failures open it again")
    return None


def count_wanted(breaker: BreakerStatus, probes: Iterable[ProbeOutcome]) -> int:
    """Return how many more task instances a half-open breaker lets through now."""
    if breaker.state is not BreakerState.HALF_OPEN:
        return 0
    held = sum(one not in UNDECIDED for one in probes)
    return max(0, breaker.wave - held)
