"""Text from outside on one line of a log or a terminal."""

from __future__ import annotations


def one_line(text: object, limit: int = 300) -> str:
    """The text with all that is not printable escaped, so that it can neither begin a line nor colour it."""
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text)[:limit])
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."
