"""Which breakers a task needs: by the names of its Dag and itself, by tags, or by the connections that it has read.

The expressions for Dag, tag and task narrow down every breaker, also one about a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "store")

# Tags of Dags are read again after this time.
TAGS_S = 30.0

# A task: the id of its Dag, and its own.
Task = tuple[str, str]
# Runs a statement with parameters, and returns its rows.
Query = Callable[..., Sequence[Sequence[Any]]]


@dataclass(slots=True)
class Coverage:
    """Remembers what is known of tasks by their names and tags. What tasks have used is read each time."""

    rules: Iterable[BreakerRule]
    clock: Callable[[], float]
    tags: dict[str, Sequence[str]] = field(default_factory=dict)
    tags_at: float = float("-inf")
    known: dict[tuple[str, str, str], bool] = field(default_factory=dict)
    # Which rules are about a task by its names and tags alone: so a task is compared with each rule once.
    named: dict[Task, tuple[str, ...]] = field(default_factory=dict)

    def find(self, tasks: Collection[Task], names: Iterable[str], query: Query) -> Mapping[str, set[Task]]:
        """Return those of the tasks that need each of the breakers with these names."""
        wanted = set(names)
        rules = [rule for rule in self.rules if rule.name in wanted]
        if any(rule.tag is not None for rule in self.rules):
            self._read_tags({dag for dag, _ in tasks}, query)
        found: dict[str, set[Task]] = {name: set() for name in wanted}
        for task in tasks:
            for name in self._find_named(task):
                if name in found:
                    found[name].add(task)
        members = set(tasks)
        by_name = {rule.name: rule for rule in rules}
        for name, dag, task in query(SQL["list_all_members"], {"names": sorted(wanted)}) if tasks else ():
            # A task may have joined before the rule was changed.
            if (dag, task) in members and name in by_name and self._fits(by_name[name], dag, task):
                found[name].add((dag, task))
        return found

    def _find_named(self, task: Task) -> tuple[str, ...]:
        names = self.named.get(task)
        if names is None:
            names = tuple(rule.name for rule in self.rules if rule.is_by_names and self._fits(rule, *task))
            self.named[task] = names
        return names

    def _fits(self, rule: BreakerRule, dag: str, task: str) -> bool:
        key = (rule.name, dag, task)
        if key not in self.known:
            self.known[key] = rule.fits(dag, task, self.tags.get(dag, ()))
        return self.known[key]

    def _read_tags(self, dags: Collection[str], query: Query) -> None:
        now = self.clock()
        if now - self.tags_at >= TAGS_S:
            self.tags, self.tags_at = {}, now
            self.known.clear()
            self.named.clear()
        if missing := sorted(set(dags) - self.tags.keys()):
            self.tags |= dict.fromkeys(missing, ()) | {
                dag: list(tags) for dag, tags in query(SQL["list_tags"], {"dags": missing})
            }
