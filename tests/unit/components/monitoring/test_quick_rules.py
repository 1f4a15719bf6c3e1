"""The rules with shorter times, which drills use, differ from airfleet's in nothing else."""

from __future__ import annotations

import re

import yaml

from airfleet.components.monitoring import rule_files
from alert_drills import quick_rules


def test_only_ranges_durations_and_the_named_thresholds_are_shorter() -> None:
    thresholds = set()
    for text in rule_files.read_shipped().values():
        for own, quick in zip(
            yaml.safe_load(text)["groups"], yaml.safe_load(quick_rules.quicken(text))["groups"], strict=True
        ):
            for before, after in zip(own["rules"], quick["rules"], strict=True):
                assert {**before, "for": "", "expr": ""} == {**after, "for": "", "expr": ""}
                name = before.get("alert", "")
                if name in quick_rules.SHORTENED:
                    assert after["expr"] == before["expr"].replace("> 1800", "> 60") != before["expr"]
                    thresholds.add(name)
                else:
                    assert re.split(r"\[[^]]*\]", before["expr"]) == re.split(r"\[[^]]*\]", after["expr"])
                assert ("for" in before) is ("for" in after)
    assert thresholds == set(quick_rules.SHORTENED)


def test_one_factor_shortens_every_time_and_a_window_keeps_some_scrapes() -> None:
    rule = {"alert": "A", "expr": "rate(a[1h]) > 300 and b[1m:30s]", "for": "5m"}
    [quick] = yaml.safe_load(quick_rules.quicken(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]})))[
        "groups"
    ]
    assert quick["rules"] == [{"alert": "A", "expr": "rate(a[120000ms]) > 300 and b[10000ms:2s]", "for": "10000ms"}]
