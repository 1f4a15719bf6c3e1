"""Takes secrets out of lines before they are kept.

Airflow masks what it knows to be secret in lines of tasks. Lines of components and of other programs pass it by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

MASK = "***"
# How the name of a secret ends.
_NAME = (
    r"(?:passwords?|passwd|passphrase|secret|token|authorization|"
    r"(?:api|access|private|secret|fernet|encryption)[_-]?key)"
)
# What is between the name and the value. In JSON within text, a quote has backslashes before it.
_BETWEEN = r"\\{0,3}[\"']?\s{0,20}(?:=>|[:=])\s{0,20}(?:[bru]{1,2}(?=[\"']))?"
# A value in quotes ends at the same quote, or with the text. Another value ends before a space or a comma.
_VALUE = (
    r"(?:\\{1,3}\"((?:[^\"\\]|\\\\\\\"|\\[^\"])+)|\"((?:[^\"\\]|\\[\s\S])+)|'((?:[^'\\]|\\[\s\S])+)"
    r"|((?:[^\s\"'\\,;&]|\\(?![\"']))+))"
)
# Each hides its groups, or the whole match if it has none. Parts have limits, so that no line takes long.
BUILT_IN = (
    # A password may have a slash or an at sign that nobody encoded, so it ends at the last at sign.
    r"(?i)\b[a-z][a-z0-9+.-]{0,20}://[^\s:/\"'\\]{0,256}:([^\s\"'\\]{1,256})@",
    # The first word may be the scheme: Bearer, Basic, Token.
    rf"(?i)authorization{_BETWEEN}[\"']?[a-z][\w-]{{0,30}}[ \t]+([^\s\"'\\,;]+)",
    rf"(?i){_NAME}{_BETWEEN}{_VALUE}",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
)
_SECRET_NAME = re.compile(rf"(?i){_NAME}\Z")
# A line without any of these has nothing that BUILT_IN finds; looking for them is quicker. Nearly all lines have none
# of the words, and looking for those takes a tenth of the time of the expression.
_WORDS = ("://", "authoriz", "passw", "passphrase", "secret", "token", "key", "akia", "asia")
_HINT = re.compile(r"(?i)://[^\s/]*:|authoriz|passw|passphrase|secret|token|[a-z][_-]?key|A[KS]IA")


class Redaction:
    """The rules of one host: those of airfleet, and those of fleet.yaml."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Take further regular expressions. Raises re.error for one that is none."""
        self._built_in = tuple(map(re.compile, BUILT_IN))
        self._own = tuple(map(re.compile, patterns))

    def hide(self, line: str) -> str:
        """Return the line with MASK in place of each secret. An object of JSON stays one."""
        folded = line.casefold()
        if any(word in folded for word in _WORDS) and _HINT.search(line):
            line = self._hide_built_in(line)
        return _apply(self._own, line)

    def _hide_built_in(self, line: str) -> str:
        if line.startswith("{") and line.endswith("}"):
            try:
                body = json.loads(line)
                hidden = self._hide_value(body)
                return line if hidden == body else json.dumps(hidden, ensure_ascii=False, separators=(",", ":"))
            except (ValueError, RecursionError):
                pass
        return _apply(self._built_in, line)

    def _hide_value(self, value: Any) -> Any:  # noqa: ANN401 - any value of JSON
        if isinstance(value, str):
            return _apply(self._built_in, value)
        if isinstance(value, list):
            return [self._hide_value(one) for one in value]
        if isinstance(value, dict):
            return {name: MASK if _is_secret(name, one) else self._hide_value(one) for name, one in value.items()}
        return value


def _is_secret(name: str, value: object) -> bool:
    return isinstance(value, str | int | float) and bool(value) and _SECRET_NAME.search(name) is not None


def _apply(rules: Iterable[re.Pattern[str]], text: str) -> str:
    for rule in rules:
        text = rule.sub(_mask, text)
    return text


def _mask(found: re.Match[str]) -> str:
    text, start = found[0], found.start()
    spans = [found.span(number) for number in range(1, len(found.groups()) + 1) if found.start(number) >= 0]
    for begin, end in sorted(spans or [found.span()], reverse=True):
        text = text[: begin - start] + MASK + text[end - start :]
    return text
