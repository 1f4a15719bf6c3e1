"""Rules decide what becomes of a task that failed, if its author has given it no retry policy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


@dataclass(frozen=True, slots=True)
class RuleDecision:
    """The seconds to the next try, or None for no other try; and the reason, which is kept with the task instance."""

    delay_s: float | None
    reason: str


# Gets a task instance and its error. Returns None if no rule is about them.
Decide = Callable[[Any, BaseException], RuleDecision | None]


def decide_retries(decide: Decide) -> None:
    """Let `decide` say what becomes of every task of this process and its later forks that fails."""
    apply(PATCH, decide)


def _make(evaluate: Any, decide: Decide) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(evaluate)
    def evaluate_policy(ti: Any, exception: BaseException, log: Any, context: Any = None) -> Any:  # noqa: ANN401
        if getattr(ti.task, "retry_policy", None) is not None:
            return evaluate(ti, exception, log, context)
        try:
            decision = decide(ti, exception)
            translated = None if decision is None else _translate(decision)
        except Exception:
            log.exception("airfleet: the rules of retries failed, so Airflow decides")
            return None
        if decision is None:
            return None
        log.info("airfleet: a rule of fleet.yaml decides about the next try", reason=decision.reason)
        return translated

    return (evaluate_policy,)


def _translate(decision: RuleDecision) -> Any:  # noqa: ANN401 - a RetryDecision
    from airflow.sdk.definitions.retry_policy import RetryDecision

    if decision.delay_s is None:
        return RetryDecision.fail(decision.reason)
    return RetryDecision.retry(timedelta(seconds=decision.delay_s), decision.reason)


_RUNNER = "airflow.sdk.execution_time.task_runner"
PATCH = Patch(
    name="retry-rules",
    targets=(f"{_RUNNER}:_evaluate_retry_policy",),
    requires=(Accepts(f"{_RUNNER}:_evaluate_retry_policy", ("ti", "exception", "log", "context")),),
    assumes=(
        Contains(
            f"{_RUNNER}:_handle_current_task_failed",
            ("_evaluate_retry_policy(ti, exception, log, context)", "retry_delay_override=decision.retry_delay"),
        ),
    ),
    make=_make,
    without="the rules under `retries` in fleet.yaml decide nothing, and every task retries as its author said",
    processes="tasks, where fleet.yaml has rules of retries",
)
