"""What the commands of `airflow airfleet` read and print: moments; results to stdout, progress to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime


def read_moment(text: str | None, forms: str = "2026-11-24 or 2026-11-24T16:05") -> datetime:
    """Return a moment that a user wrote; without a time zone it is in UTC. `forms` says how it may be written.

    Raises:
        SystemExit: with a message, if the text is no moment.
    """
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        raise SystemExit(f"airfleet: {text!r} is not a moment: write it as {forms}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def print_json(content: object) -> None:
    """Print a result as indented JSON. Moments and other types that JSON does not know become text."""
    print(json.dumps(content, indent=2, default=str))


def print_table(lines: Sequence[Sequence[str]]) -> None:
    """Print lines of cells, each column as wide as its widest cell. The first line has the names."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def say(line: str) -> None:
    """Print a line of progress at once, also if stderr is a pipe."""
    print(line, file=sys.stderr, flush=True)
