"""An explanation as lines for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import words
from airfleet_provider.contract.explanation.model import Blocker, Cause, Explanation
from airfleet_provider.contract.text import one_line

NARROW, WIDE, LONGEST = 60, 100, 2000
WORDS = {
    "broken": "a part of the platform does not work",
    "held": "until somebody acts",
    "waiting": "ends by itself",
    "note": "",
}


def list_lines(explained: Explanation) -> Iterator[str]:
    """Yield the lines of an explanation: what is so, then each cause with its blockers, advice and commands.

    Names and messages are those of users, so control characters are escaped.
    """
    for line in _list_lines(explained):
        yield one_line(line, LONGEST)


def _list_lines(explained: Explanation, told: frozenset[str] = frozenset()) -> Iterator[str]:
    width = max(NARROW, min(WIDE, shutil.get_terminal_size((WIDE, 24)).columns))
    yield from textwrap.wrap(explained.summary, width)
    for number, cause in enumerate(explained.causes, 1):
        yield ""
        yield from _list_cause(number, cause, explained, width, is_told=cause.what in told)
        told = told | {cause.what}
    for run in explained.runs:
        yield ""
        yield from _list_lines(run, told)
        told = told | {cause.what for cause in run.causes}
    for missing in explained.unknown:
        yield ""
        yield from textwrap.wrap(f"Not known: {missing}.", width)


def _list_cause(number: int, cause: Cause, explained: Explanation, width: int, *, is_told: bool) -> Iterator[str]:
    """Yield the lines of a cause. What is told already is not told again with all its blockers and commands."""
    notes = [WORDS[cause.severity]] if WORDS[cause.severity] else []
    notes += [f"for {words.between(cause.since, explained.at)}"] if cause.since and cause.blocks else []
    notes += [wording.count(cause.count, "task")] if cause.count > 1 else []
    text = cause.what + (f"  [{'; '.join(notes)}]" if notes else "")
    head = f"{number}. "
    yield from textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))
    indent = " " * len(head)
    if is_told:
        yield f"{indent}As above."
        return
    for blocker in cause.blockers:
        yield from textwrap.wrap(
            _describe(blocker, explained), width, initial_indent=f"{indent}- ", subsequent_indent=f"{indent}  "
        )
    if cause.unnamed:
        yield f"{indent}- and {cause.unnamed} more"
    if cause.advice:
        yield from textwrap.wrap(cause.advice, width, initial_indent=indent, subsequent_indent=indent)
    for line in cause.commands:  # never wrapped, so that it can be pasted
        yield f"{indent}$ {line}"


def _describe(blocker: Blocker, explained: Explanation) -> str:
    parts = [blocker.name]
    if blocker.subject and blocker.subject.run and blocker.subject.run != explained.subject.run:
        parts.append(blocker.subject.run)
    parts.append(blocker.state)
    if blocker.since:
        parts.append(f"for {words.between(blocker.since, explained.at)}")
    if blocker.slots is not None:
        parts.append(wording.count(blocker.slots, "slot"))
    if blocker.where:
        parts.append(f"on {blocker.where}" if blocker.kind == "task" else f"({blocker.where})")
    return "  ".join(dict.fromkeys(part for part in parts if part))
