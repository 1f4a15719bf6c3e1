"""Several answers in the output of one script. A line with its name precedes each answer."""

from __future__ import annotations

from airfleet.shell_script import render_script

MARK = "@@airfleet@@"


def render(package: str, name: str, **values: object) -> str:
    """Return the text of a program of a package whose line `section NAME` begins the answer of that name."""
    return render_script(__package__, "sections", MARK=MARK) + render_script(package, name, **values)


def split(text: str) -> dict[str, list[str]]:
    """Return the non-empty lines of each answer. Text before the first answer is ignored."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(MARK):
            lines = parts.setdefault(line.removeprefix(MARK).strip(), [])
        elif line:
            lines.append(line)
    return parts
