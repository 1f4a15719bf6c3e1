"""The comment that turns off a finding at one line: `# airfleet: ignore[retries]`."""

from __future__ import annotations

import difflib
import io
import re
import tokenize
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from airfleet.releases.checks.findings import Caught
from airfleet.releases.checks.source import SourceFile

CHECK = "unknown-ignore"
_COMMENT = re.compile(r"#.*?\bairfleet:\s*ignore(?:\[(?P<names>[^]]*)\])?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ignore:
    """One comment: its line, the checks that it names, and the line (`target`) whose findings it turns off."""

    line: int
    names: tuple[str, ...]
    target: int


def read(source: SourceFile) -> tuple[Ignore, ...]:
    """Return the comments of a file. A comment alone on its line applies to the line below."""
    if not _COMMENT.search(source.text):
        return ()  # a tokenizer is needed to find comments reliably, and costs as much as all checks together
    found = []
    for line, comment, stands_alone in _comments(source.text):
        if match := _COMMENT.search(comment):
            names = tuple(name.strip() for name in (match["names"] or "").split(",") if name.strip())
            found.append(Ignore(line, names, line + 1 if stands_alone else line))
    return tuple(found)


def find_unknown(source: SourceFile, *, known: Collection[str], fixed: Collection[str]) -> Iterator[Caught]:
    """Yield each name in a comment that no check has, or whose check cannot be turned off."""
    for ignore in read(source):
        if not ignore.names:
            hint = "name the checks: # airfleet: ignore[retries]"
            yield Caught(source.path, ignore.line, "this comment names no check to ignore", hint)
        for name in ignore.names:
            if name in fixed:
                yield Caught(source.path, ignore.line, f"{name} cannot be ignored", "remove this comment")
            elif name not in known:
                close = difflib.get_close_matches(name, sorted(known), n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known checks: {', '.join(sorted(known))}"
                yield Caught(source.path, ignore.line, f"there is no check {name!r}", hint)


def _comments(text: str) -> Iterator[tuple[int, str, bool]]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string, token.line.lstrip().startswith("#")
    except (tokenize.TokenError, SyntaxError):
        return  # what comes after the mistake is not read; the mistake is a finding itself
