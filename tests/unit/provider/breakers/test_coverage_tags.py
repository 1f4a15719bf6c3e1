"""Tags of Dags are read once in a while, also where tasks of different Dags are asked about in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airfleet_provider.breakers.coverage import SQL, TAGS_S, Coverage
from airfleet_provider.contract.breaker_rules import BreakerRule


def test_two_groups_of_dags_in_turn_do_not_make_each_other_forgotten() -> None:
    now = 0.0
    asked: list[list[str]] = []
    tags = {"a": ["crm"], "b": []}

    def query(statement: str, words: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        if statement != SQL["list_tags"]:
            return []
        asked.append(list(words["dags"]))
        return [(dag, tags[dag]) for dag in words["dags"] if tags[dag]]

    coverage = Coverage([BreakerRule("crm", tag="crm")], lambda: now)
    for _ in range(3):
        assert coverage.find([("a", "t")], ["crm"], query) == {"crm": {("a", "t")}}
        assert coverage.find([("b", "t")], ["crm"], query) == {"crm": set()}
    assert asked == [["a"], ["b"]]
    now, tags["b"] = TAGS_S, ["crm"]
    assert coverage.find([("b", "t")], ["crm"], query) == {"crm": {("b", "t")}}
