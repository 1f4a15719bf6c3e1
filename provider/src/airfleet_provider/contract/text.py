"""Prints untrusted text on one line of a log or a terminal."""

from __future__ import annotations


def one_line(text: object, limit: int = 300) -> str:
    """Return up to `limit` characters of the text with unprintable characters escaped.

    So the text can neither begin a new line nor send control sequences to a terminal.
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text)[:limit])
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."
