"""The SQL statements of a module: they lie in a file beside it, each below a line `-- name: NAME`."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from functools import cached_property
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\n", re.MULTILINE)
_COMMENTS = re.compile(r"\A(?:--[^\n]*\n)+")


class Statements:
    """The named statements of the file `NAME.sql` of a package; the file is read when the first of them is wanted."""

    def __init__(self, package: str, name: str) -> None:
        self._package = package
        self._name = name

    def __getitem__(self, name: str) -> LiteralString:
        """Return the text of a statement without the comments above it; raises KeyError if there is none."""
        return self._texts[name]

    @cached_property
    def _texts(self) -> Mapping[str, LiteralString]:
        text = (importlib.resources.files(self._package) / f"{self._name}.sql").read_text(encoding="utf-8")
        # No user's words are in a file of the package, so whatever executes a statement may take it as a literal.
        return cast("Mapping[str, LiteralString]", parse(text))


def parse(text: str) -> dict[str, str]:
    """Return the statements of a file by name; raises ValueError for a name that is there twice."""
    _, *pieces = _NAME.split(text)
    names, bodies = pieces[::2], pieces[1::2]
    if len(set(names)) < len(names):
        raise ValueError(f"a name is there twice: {sorted({name for name in names if names.count(name) > 1})}")
    return {name: _COMMENTS.sub("", body).strip() for name, body in zip(names, bodies, strict=True)}
