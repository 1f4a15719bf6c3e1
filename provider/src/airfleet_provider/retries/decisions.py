"""What becomes of a task that failed, by the rules of fleet.yaml. It runs in the process of the task (ADR 50)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airfleet_provider.compat.patches.retry_rules import RuleDecision
from airfleet_provider.contract.retry_rules import DEFAULT_ERRORS, FailureAction, RetryRule
from airfleet_provider.network import service_errors


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decides by the first rule that fits the task and its error."""

    rules: Sequence[RetryRule]
    # Returns a random number between two: no two task instances have the same delay, also of one mapped task.
    choose: Callable[[float, float], float] = random.uniform
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def decide(self, ti: Any, error: BaseException) -> RuleDecision | None:  # noqa: ANN401 - Airflow's own
        """Return what becomes of a task instance, or None if Airflow decides."""
        task = ti.task
        tags = sorted(getattr(getattr(task, "dag", None), "tags", None) or ())
        operator = str(getattr(task, "task_type", type(task).__name__))
        for rule in self.rules:
            if rule.fits(ti.dag_id, ti.task_id, operator, tags) and counts(rule, error):
                return self._follow(rule, ti.try_number, error)
        return None

    def _follow(self, rule: RetryRule, tries: int, error: BaseException) -> RuleDecision:
        name = service_errors.name_error(error)
        if rule.action is FailureAction.FAIL:
            return RuleDecision(None, f"{name}: the rule {rule.name} of fleet.yaml allows no retry")
        delay = self.choose(0.0, rule.find_limit(tries))
        asked = service_errors.find_retry_after(error, self.now())
        said = ""
        if asked is not None:
            # Not before the service wants it, and not all at that moment.
            delay += asked
            said = f", {asked:.0f} s of which the service asked for"
        return RuleDecision(delay, f"{name}: the rule {rule.name} of fleet.yaml retries in {delay:.0f} s{said}")


def counts(rule: RetryRule, error: BaseException) -> bool:
    """Return whether an error is one that the rule is about."""
    own = [one for one in rule.errors if one != DEFAULT_ERRORS]
    if not rule.errors or (own and service_errors.matches(error, own)):
        return True
    return DEFAULT_ERRORS in rule.errors and service_errors.says_away(error)
