"""airfleet's rules with shorter times, so that drills take minutes.

`FACTOR` divides the `for` of every alert and the window of every range. Thresholds stay as they are: a queue whose head
waits for five minutes waits for five minutes in a drill too. Only the half hour in `SHORTENED` is divided too.
A window never gets shorter than `LEAST_WINDOW_S`, so that it holds several scrapes. Prometheus scrapes and evaluates
every two seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import yaml

from airfleet.components.monitoring import rule_files
from airfleet.components.monitoring.rule_files import Expiry
from airfleet.spec.fleet import Fleet

FACTOR = 30
EVERY_S = 2
LEAST_WINDOW_S = 10
SHORTENED = {"DatabaseLongTransaction": 1800}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_RANGE = re.compile(r"\[(\d+)([smhd])(?::(\d+)([smhd]))?\]")


def render(fleet: Fleet, expiries: Iterable[Expiry] = (), backup_age_s: int | None = None) -> dict[str, str]:
    """Return the texts of all rule files by name. With `backup_age_s`, a backup may be so old, as on a fleet."""
    files = {name: quicken(text) for name, text in rule_files.list_files(fleet, expiries).items()}
    if backup_age_s is not None:
        limit = {"record": "airfleet:limit:backup_age_seconds", "expr": f"vector({backup_age_s})"}
        files["drill.yaml"] = yaml.safe_dump({"groups": [{"name": "drill", "rules": [limit]}]})
    return files


def quicken(text: str) -> str:
    """Return the text of a rule file with shorter times."""
    content = yaml.safe_load(text)
    for group in content["groups"]:
        group["interval"] = f"{EVERY_S}s"
        for rule in group["rules"]:
            rule["expr"] = _RANGE.sub(_shorten_range, rule["expr"])
            if threshold := SHORTENED.get(rule.get("alert", "")):
                rule["expr"] = re.sub(rf"> {threshold}$", f"> {threshold // FACTOR}", rule["expr"])
            if "for" in rule:
                rule["for"] = _format(_read(rule["for"]) / FACTOR)
    return yaml.safe_dump(content, sort_keys=False)


def _shorten_range(found: re.Match[str]) -> str:
    window = max(LEAST_WINDOW_S, int(found[1]) * _UNITS[found[2]] / FACTOR)
    step = f":{EVERY_S}s" if found[3] else ""
    return f"[{_format(window)}{step}]"


def _read(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


def _format(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
