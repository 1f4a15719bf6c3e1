"""Airflow's trigger rules: what a task instance does next, given the states of its upstream task instances.

The rules are those of airflow/ti_deps/deps/trigger_rule_dep.py. tests/local/test_explain_agrees.py compares them with a
real scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TriggerOutcome(StrEnum):
    """What the scheduler does with a task instance in its next loop."""

    READY = "ready"
    WAITS = "waits"
    SKIPS = "skips"
    FAILS = "fails"
    IS_REMOVED = "is removed"


@dataclass(frozen=True, slots=True)
class UpstreamCounts:
    """How many upstream task instances there are, and how many of them ended in which state."""

    total: int
    success: int = 0
    skipped: int = 0
    failed: int = 0
    upstream_failed: int = 0
    removed: int = 0
    setups: int = 0
    setups_success: int = 0
    setups_skipped: int = 0

    @property
    def done(self) -> int:
        return self.success + self.skipped + self.failed + self.upstream_failed + self.removed

    @property
    def all_done(self) -> bool:
        return self.done >= self.total

    @property
    def bad(self) -> int:
        return self.failed + self.upstream_failed


NEEDS = {
    "all_success": "all upstream tasks to succeed",
    "all_failed": "all upstream tasks to fail",
    "all_done": "all upstream tasks to end",
    "all_skipped": "all upstream tasks to be skipped",
    "one_success": "one upstream task to succeed",
    "one_failed": "one upstream task to fail",
    "one_done": "one upstream task to succeed or fail",
    "none_failed": "all upstream tasks to succeed or be skipped",
    "none_failed_min_one_success": "all upstream tasks to succeed or be skipped, and one to succeed",
    "none_skipped": "all upstream tasks to end, and none to be skipped",
    "all_done_min_one_success": "all upstream tasks to end, none to be skipped, and one to succeed",
    "all_done_setup_success": "all upstream tasks to end, and one setup task to succeed",
    "always": "nothing",
}


def evaluate(rule: str, up: UpstreamCounts, map_index: int = -1) -> TriggerOutcome:
    """Return what a task instance with this trigger rule does next. An unknown rule waits, as in Airflow."""
    if not up.total or rule == "always":
        return TriggerOutcome.READY
    early = _settle(rule, up, map_index)
    if early is not None:
        return early
    return TriggerOutcome.READY if _is_met(rule, up) else TriggerOutcome.WAITS


def _settle(rule: str, up: UpstreamCounts, map_index: int) -> TriggerOutcome | None:  # noqa: PLR0912 - Airflow's table
    """Return the outcome that the scheduler sets without running the task, or None."""
    match rule:
        case "all_success":
            if up.bad:
                return TriggerOutcome.FAILS
            if up.skipped:
                return TriggerOutcome.SKIPS
            if up.removed and up.success and map_index > -1 and map_index >= up.success:
                return TriggerOutcome.IS_REMOVED
        case "all_failed":
            if up.success or up.skipped:
                return TriggerOutcome.SKIPS
        case "one_success":
            if up.all_done and up.done == up.skipped:
                return TriggerOutcome.SKIPS
            if up.all_done and up.success <= 0:
                return TriggerOutcome.FAILS
        case "one_failed":
            if up.all_done and not up.bad:
                return TriggerOutcome.SKIPS
        case "one_done":
            if up.all_done and not (up.failed or up.success):
                return TriggerOutcome.SKIPS
        case "none_failed":
            if up.bad:
                return TriggerOutcome.FAILS
        case "none_failed_min_one_success":
            if up.bad:
                return TriggerOutcome.FAILS
            if up.skipped == up.total:
                return TriggerOutcome.SKIPS
            if up.all_done and up.success == 0:
                return TriggerOutcome.FAILS
        case "none_skipped":
            if up.skipped:
                return TriggerOutcome.SKIPS
        case "all_skipped":
            if up.success or up.bad:
                return TriggerOutcome.SKIPS
        case "all_done_min_one_success":
            if up.skipped:
                return TriggerOutcome.SKIPS
            if up.success + up.bad + up.removed >= up.total and up.success == 0:
                return TriggerOutcome.FAILS
        case "all_done_setup_success":
            if up.all_done and up.setups and up.setups_skipped >= up.setups:
                return TriggerOutcome.SKIPS
            if up.all_done and up.setups and up.setups_success == 0:
                return TriggerOutcome.FAILS
    return None


def _is_met(rule: str, up: UpstreamCounts) -> bool:
    checks = {
        "all_success": up.total - up.success - up.removed <= 0,
        "all_failed": up.total - up.bad - up.removed <= 0,
        "all_done": up.all_done,
        "all_skipped": up.total - up.skipped <= 0,
        "one_success": up.success > 0,
        "one_failed": up.bad > 0,
        "one_done": up.success + up.failed > 0,
        "none_failed": up.total - up.success - up.skipped - up.removed <= 0,
        "none_failed_min_one_success": up.total - up.success - up.skipped - up.removed <= 0 and up.success > 0,
        "none_skipped": up.all_done and up.skipped == 0,
        "all_done_min_one_success": not up.skipped and up.success + up.bad >= up.total - up.removed and up.success > 0,
        "all_done_setup_success": up.all_done and not (up.setups and not up.setups_success),
    }
    return checks.get(rule, False)
