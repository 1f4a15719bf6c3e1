"""Words that both halves write in messages."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Return the number with the noun: `1 worker`, `2 workers`. The plural must end with one more s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Format a duration in seconds as 12 s, 5 min, 3 h 20 min or 2 d 4 h."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if not minutes:
        return f"{int(seconds)} s"
    if not hours:
        return f"{minutes} min"
    if not days:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
