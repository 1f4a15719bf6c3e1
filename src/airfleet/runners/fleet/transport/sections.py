"""Several answers in the output of one script: each below a line that names it."""

from __future__ import annotations

MARK = "@@airfleet@@"
# `s NAME` in a script begins the answer of that name.
BEGIN = f's() {{ echo "{MARK} $1"; }}'


def split(text: str) -> dict[str, list[str]]:
    """The lines of each answer that are not empty; what stands before the first answer is left out."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(MARK):
            lines = parts.setdefault(line.removeprefix(MARK).strip(), [])
        elif line:
            lines.append(line)
    return parts
