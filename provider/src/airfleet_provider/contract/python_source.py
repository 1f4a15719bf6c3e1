"""The syntax tree of a project's Python file, which may hold anything."""

from __future__ import annotations

import ast


def parse(source: str | bytes) -> ast.Module | None:
    """Return the syntax tree of a file, or None if Python cannot make one.

    Its syntax may be wrong, or it may be nested more deeply than Python can read, as a sum of thousands of terms is.
    """
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
