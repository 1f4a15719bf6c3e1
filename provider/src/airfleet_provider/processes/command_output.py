"""What the commands of `airflow airfleet` print: results as JSON to stdout, progress to stderr."""

from __future__ import annotations

import json
import sys


def print_json(content: object) -> None:
    """Print a result as indented JSON. Moments and other types that JSON does not know become text."""
    print(json.dumps(content, indent=2, default=str))


def say(line: str) -> None:
    """Print a line of progress at once, also if stderr is a pipe."""
    print(line, file=sys.stderr, flush=True)
