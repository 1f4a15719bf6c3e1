"""Takes secrets out of lines before they are kept.

Airflow masks what it knows to be secret in lines of tasks. Lines of components and of other programs pass it by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"
# Each hides its groups, or the whole match if it has none. No value may hold a quote or a backslash: the line may be
# JSON, and must stay so. Parts have limits, so that no line takes long.
BUILT_IN = (
    r"(?i)\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@\"'\\]{0,256}:([^\s/@\"'\\]{1,256})@",
    r"(?i)\bauthorization\\?[\"']?\s*[:=]\s*\\?[\"']?(?:bearer|basic)\s+([^\s\"'\\,;]+)",
    r"(?i)(?:password|passwd|secret_key|api_key|apikey|access_token|private_key)\\?[\"']?\s*[:=]\s*\\?[\"']?([^\s\"'\\,;&]+)",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
)
# A line without any of these has nothing that BUILT_IN finds; looking for them is quicker.
_HINT = re.compile(r"(?i)://[^\s/]*:|authoriz|passw|secret_key|api_?key|access_token|private_key|A[KS]IA")


class Redaction:
    """The rules of one host: those of airfleet, and those of fleet.yaml."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Take further regular expressions. Raises re.error for one that is none."""
        self._built_in = tuple(map(re.compile, BUILT_IN))
        self._own = tuple(map(re.compile, patterns))

    def hide(self, line: str) -> str:
        """Return the line with MASK in place of each secret."""
        rules = (*self._built_in, *self._own) if _HINT.search(line) else self._own
        for rule in rules:
            line = rule.sub(_mask, line)
        return line


def _mask(found: re.Match[str]) -> str:
    text, start = found[0], found.start()
    spans = [found.span(number) for number in range(1, len(found.groups()) + 1) if found.start(number) >= 0]
    for begin, end in sorted(spans or [found.span()], reverse=True):
        text = text[: begin - start] + MASK + text[end - start :]
    return text
