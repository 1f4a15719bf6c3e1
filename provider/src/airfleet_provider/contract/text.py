"""Prints untrusted text in a log or on a terminal, and tells text that nothing can keep."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def one_line(text: object, limit: int = 300) -> str:
    """Return up to `limit` characters of the text with unprintable characters escaped.

    So the text can neither begin a new line nor send control sequences to a terminal.
    """
    shown = "".join(map(_escape, str(text)[:limit]))
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


def many_lines(text: object) -> str:
    """Return the text with unprintable characters escaped, but the ends of its lines and tabs."""
    return "".join(one if one in "\n\t" else _escape(one) for one in str(text))


# The characters that embed text of the other direction, override the direction, or end such a span. The marks that
# only say which way a neutral character belongs (U+200E, U+200F, U+061C) are part of texts in Arabic and Hebrew.
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def is_plain(text: str) -> bool:
    """Return whether a text that a person wrote has no control characters and no halves of characters.

    PostgreSQL keeps neither NUL nor halves of characters, and terminals obey the others. Tabs and ends of lines may be.
    Characters that turn the direction of what follows may not: they show other words than those that are there.
    """
    return not any(
        (unicodedata.category(one) in ("Cc", "Cs") and one not in "\t\r\n") or unicodedata.bidirectional(one) in _TURNS
        for one in text
    )


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each of the secrets replaced by `***`. One that is part of another is no obstacle."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text


def _escape(one: str) -> str:
    return one if one.isprintable() else one.encode("unicode_escape").decode()
