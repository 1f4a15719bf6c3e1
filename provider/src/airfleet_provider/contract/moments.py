"""Spans of time as a user writes them."""

from __future__ import annotations

import re

_SPAN = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_span(text: str) -> int | None:
    """Return the seconds of a span such as `30m`, `2h` or `7d`, or None if the text is none."""
    found = _SPAN.fullmatch(text.strip())
    return int(found[1]) * _UNITS[found[2]] if found else None
