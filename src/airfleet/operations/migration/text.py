"""Texts of the old platform in messages: what a terminal would obey is taken out."""

from __future__ import annotations


def make_printable(text: str) -> str:
    """Return a text in which each character that is not printable is a question mark."""
    return "".join(one if one.isprintable() else "?" for one in text)
