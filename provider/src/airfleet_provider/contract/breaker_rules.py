"""The rules of circuit breakers: fleet.yaml describes them, and every part of the platform reads them (ADR 49).

A breaker stands for one service that tasks call. Its rule says which tasks use the service, and which errors say that
the service is away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

# The place of the rules in airflow.cfg.
SECTION, KEY = "airfleet", "breakers"
# Among the errors of a rule, this word stands for the errors that airfleet knows.
DEFAULT_ERRORS = "default"
# The tasks that a half-open breaker lets through in its last wave. If enough of them get through, the breaker closes.
LAST_WAVE = 8


class BreakerState(StrEnum):
    """The state of a breaker."""

    # Tasks run.
    CLOSED = "closed"
    # Tasks wait.
    OPEN = "open"
    # A few tasks run, to find out whether the service is back; the others wait.
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """The rule of one breaker. An expression must match a whole name; None matches all.

    With `connection`, the breaker is about the tasks that use a connection whose id matches, and the other expressions
    narrow that down. Without it, the breaker is about all tasks that fit the other expressions. A rule without any
    expression is about no task but those whose code names the breaker.
    """

    name: str
    connection: str | None = None
    dag: str | None = None
    tag: str | None = None
    task: str | None = None
    # Regular expressions of the whole names of classes of errors, and DEFAULT_ERRORS.
    errors: tuple[str, ...] = (DEFAULT_ERRORS,)
    # The breaker opens when so many task instances failed on so many workers within so many seconds.
    failures: int = 2
    workers: int = 2
    window_s: float = 60.0
    # Seconds from the opening to the first probe. After each probe that fails, the time doubles up to the second value.
    probe_after_s: float = 10.0
    probe_at_most_s: float = 30.0
    # While the breaker is closed, one task instance may wait so often without the loss of a try.
    free_waits: int = 3

    @property
    def is_by_connection(self) -> bool:
        """Return whether it takes more than the names of a Dag and a task to know that the rule is about a task."""
        return self.connection is not None

    @property
    def is_by_names(self) -> bool:
        """Return whether the names and tags of a task alone say whether the rule is about it."""
        return not self.is_by_connection and any(one is not None for one in (self.dag, self.tag, self.task))

    def fits(self, dag: str, task: str, tags: Iterable[str]) -> bool:
        """Return whether the expressions for Dag, tag and task match."""
        return (
            _matches(self.dag, dag)
            and _matches(self.task, task)
            and (self.tag is None or any(_matches(self.tag, one) for one in tags))
        )

    def covers(self, dag: str, task: str, tags: Iterable[str]) -> bool:
        """Return whether the rule is about this task, whatever connections the task uses."""
        return self.is_by_names and self.fits(dag, task, tags)

    def uses(self, connections: Iterable[str]) -> bool:
        """Return whether the rule is about one of these connections."""
        return self.connection is not None and any(_matches(self.connection, one) for one in connections)

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plain data; `from_json` reads it."""
        return {**asdict(self), "errors": list(self.errors)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BreakerRule:
        """Return the rule that `to_json` wrote."""
        return cls(**{**data, "errors": tuple(data["errors"])})


def render(rules: Iterable[BreakerRule]) -> str:
    """Return rules as the text that airflow.cfg holds."""
    return json.dumps([one.to_json() for one in rules])


def parse(text: str) -> tuple[BreakerRule, ...]:
    """Return the rules of such a text; none for an empty one."""
    return tuple(map(BreakerRule.from_json, json.loads(text or "[]")))


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or re.fullmatch(pattern, text) is not None
