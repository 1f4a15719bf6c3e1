"""The rules of retries: fleet.yaml describes them, and tasks that fail follow them (ADR 50)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

# The place of the rules in airflow.cfg.
SECTION, KEY = "airfleet", "retries"
# Among the errors of a rule, this word stands for the errors which say that a service is away.
DEFAULT_ERRORS = "default"


class FailureAction(StrEnum):
    """What becomes of a task that failed."""

    # It tries again, if it has tries left.
    RETRY = "retry"
    # It fails at once, whatever tries it has left.
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class RetryRule:
    """What becomes of a task that fits, after an error that fits. An expression must match a whole name; None fits all.

    The delay before the next try is random, from zero to a limit. The limit is `delay_s` after the first try, grows by
    the factor `growth` with each, and is `at_most_s` at most.
    """

    name: str
    dag: str | None = None
    tag: str | None = None
    task: str | None = None
    operator: str | None = None
    # Regular expressions of the whole names of classes of errors, and DEFAULT_ERRORS. Nothing matches every error.
    errors: tuple[str, ...] = ()
    action: FailureAction = FailureAction.RETRY
    delay_s: float = 30.0
    at_most_s: float = 1800.0
    growth: float = 2.0

    def fits(self, dag: str, task: str, operator: str, tags: Iterable[str]) -> bool:
        """Return whether the rule is about a task."""
        return (
            _matches(self.dag, dag)
            and _matches(self.task, task)
            and _matches(self.operator, operator)
            and (self.tag is None or any(_matches(self.tag, one) for one in tags))
        )

    def find_limit(self, tries: int) -> float:
        """Return the longest delay in seconds after so many tries, at least one."""
        # 64 doublings are longer than any limit, and no float overflows.
        return float(min(self.delay_s * self.growth ** min(max(tries, 1) - 1, 64), self.at_most_s))

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plain data; `from_json` reads it."""
        return {**asdict(self), "errors": list(self.errors)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RetryRule:
        """Return the rule that `to_json` wrote."""
        return cls(**{**data, "errors": tuple(data["errors"]), "action": FailureAction(data["action"])})


def render(rules: Iterable[RetryRule]) -> str:
    """Return rules as the text that airflow.cfg holds."""
    return json.dumps([one.to_json() for one in rules])


def parse(text: str) -> tuple[RetryRule, ...]:
    """Return the rules of such a text; none for an empty one."""
    return tuple(map(RetryRule.from_json, json.loads(text or "[]")))


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or re.fullmatch(pattern, text) is not None
