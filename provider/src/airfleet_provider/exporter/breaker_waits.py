"""Until when breakers and limits of services held tasks back: a wait that fleet.yaml asks for is no late start."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from psycopg import Connection

from airfleet_provider.agent_loops.lease import Row
from airfleet_provider.breakers.coverage import Coverage, Task
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "breaker_waits")


class BreakerWaits:
    """Finds the breakers of tasks that have started. Without rules it reads nothing."""

    def __init__(self, rules: Sequence[BreakerRule], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._names = [rule.name for rule in rules]
        self._coverage = Coverage(tuple(rules), clock)

    def find_ends(self, connection: Connection[Row], tasks: Collection[Task]) -> Mapping[Task, float]:
        """Return until when breakers and limits held back those of the tasks that need one, in seconds since 1970.

        A breaker that is not closed holds its tasks back until now; one that has closed did so until then.
        """
        if not self._names or not tasks:
            return {}
        moments: dict[str, float] = {}
        for row in connection.execute(SQL["ends"], {"names": self._names}):
            moments[row["name"]] = max(row["until"], moments.get(row["name"], row["until"]))
        if not moments:
            return {}

        def query(statement: Any, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:  # noqa: ANN401 - a literal
            return [tuple(row.values()) for row in connection.execute(statement, values)]

        ends: dict[Task, float] = {}
        for name, members in self._coverage.find(tasks, moments, query).items():
            for task in members:
                ends[task] = max(ends.get(task, moments[name]), moments[name])
        return ends
