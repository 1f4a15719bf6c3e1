"""Errors by signature: lines that differ only in numbers, times, paths and ids are the same error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from airfleet_provider.log_index.store import Hit

# In this order: a part that one rule has replaced is not looked at by the next.
_RULES = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"(?<![\w.<])/[^\s'\",;:()]+"), "<path>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\d+"), "<n>"),
)
_SPACES = re.compile(r"\s+")
# The head of a component's line: its moment, its level in brackets, the number of its process.
_HEAD = re.compile(r"^<time>\s*(?:UTC\s*)?(?:\[[^\]]*\]\s*|\S*@\S*\s+|(?:ERROR|CRITICAL|FATAL|PANIC)\b:?\s*)*")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*: ")
LONGEST = 300


@dataclass(slots=True)
class ErrorGroup:
    """Errors with one signature. `first` and `last` are the oldest and the newest of them."""

    signature: str
    first: Hit
    last: Hit
    lines: int = 0
    tries: set[tuple[str, str, str, int, int]] = field(default_factory=set)
    tasks: set[tuple[str, str]] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    components: set[str] = field(default_factory=set)

    @property
    def dags(self) -> list[str]:
        """The Dags whose tasks had the error."""
        return sorted({dag for dag, _ in self.tasks})


def find_message(text: str) -> str:
    """Return the line of an error that says what happened: its exception, if it has one."""
    first, _, rest = text.partition("\n")
    exception = rest.partition("\n")[0]
    return exception if _EXCEPTION.match(exception) else first


def make_signature(text: str) -> str:
    """Return what errors of one kind have in common."""
    message = find_message(text)[: 4 * LONGEST]
    for rule, name in _RULES:
        message = rule.sub(name, message)
    return _SPACES.sub(" ", _HEAD.sub("", message)).strip()[:LONGEST]


def group(hits: Iterable[Hit]) -> list[ErrorGroup]:
    """Return the groups of errors: the one with the most tasks first, then the one with the most lines."""
    groups: dict[str, ErrorGroup] = {}
    for hit in hits:
        signature = make_signature(hit.text)
        one = groups.setdefault(signature, ErrorGroup(signature, hit, hit))
        one.lines += 1
        one.first = min(one.first, hit, key=lambda own: own.at)
        one.last = max(one.last, hit, key=lambda own: own.at)
        one.hosts.add(hit.origin.host)
        one.components.add(hit.origin.component)
        if hit.origin.dag:
            one.tries.add(hit.origin.attempt)
            one.tasks.add((hit.origin.dag, hit.origin.task))
    return sorted(groups.values(), key=lambda one: (-len(one.tasks), -one.lines, one.signature))
