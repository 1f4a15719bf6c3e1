"""Words that both halves write in messages."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Return the number with the noun: `1 worker`, `2 workers`. The plural must end with one more s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
