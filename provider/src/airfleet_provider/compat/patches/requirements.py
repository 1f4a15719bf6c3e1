"""What a patch requires of the code that it replaces; each kind finds out by itself whether that still holds."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# What a path names that is not there.
MISSING: Any = object()


class Requirement(Protocol):
    """Something that must be so in the installed Airflow."""

    def find_obstacle(self) -> str | None:
        """Why it is not so, in a few words; None when it is. Raises whatever the import of the code raises."""


def split(path: str) -> tuple[Any, str]:
    """The object that holds what a path names, and the name there.

    A path is `package.module:name` or `package.module:Class.name`. Raises ImportError and AttributeError.
    """
    module, _, names = path.partition(":")
    owner: Any = importlib.import_module(module)
    *parts, name = names.split(".")
    for part in parts:
        owner = get(owner, part)
        if owner is MISSING:
            raise AttributeError(f"{path}: no {part}")
    return owner, name


def get(owner: Any, name: str) -> Any:  # noqa: ANN401 - whatever a path names
    """What is called so in an object or in a dict; MISSING where nothing is."""
    return owner.get(name, MISSING) if isinstance(owner, dict) else getattr(owner, name, MISSING)


def find(path: str) -> Any:  # noqa: ANN401 - whatever a path names
    """What a path names; a path without a colon names a module. Raises ImportError and AttributeError."""
    if ":" not in path:
        return importlib.import_module(path)
    owner, name = split(path)
    found = get(owner, name)
    if found is MISSING:
        raise AttributeError(f"{path} is not there")
    return found


def read_source(code: Any) -> str:  # noqa: ANN401 - a path, or code
    """The source of some code; a module is not imported for it. Raises ImportError, AttributeError, OSError, TypeError.

    Nothing of the source stays in memory: a module of Airflow has up to half a megabyte.
    """
    if isinstance(code, str) and ":" not in code:
        spec = importlib.util.find_spec(code)
        if spec is None or spec.origin is None:
            raise ImportError(f"{code} is not there")
        return Path(spec.origin).read_text(encoding="utf-8")
    if isinstance(code, str):
        code = find(code)
    try:
        return inspect.getsource(code)
    finally:
        linecache.clearcache()


@dataclass(frozen=True, slots=True)
class Accepts:
    """A function can be called with these arguments."""

    function: str
    positional: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    def find_obstacle(self) -> str | None:
        try:
            inspect.signature(find(self.function)).bind(*self.positional, **dict.fromkeys(self.named))
        except (TypeError, ValueError) as error:
            return f"{self.function} is another: {error}"
        return None


@dataclass(frozen=True, slots=True)
class Contains:
    """The source of a function or module has these pieces, in this order."""

    code: str
    pieces: tuple[str, ...]

    def find_obstacle(self) -> str | None:
        source, place = read_source(self.code), 0
        for piece in self.pieces:
            place = source.find(piece, place)
            if place < 0:
                return f"{self.code} is another: it lacks {' '.join(piece.split())!r}"
            place += len(piece)
        return None


@dataclass(frozen=True, slots=True)
class Counts:
    """A piece of source is in a function, class or module as often as this and not more often."""

    code: str
    piece: str
    times: int

    def find_obstacle(self) -> str | None:
        times = read_source(self.code).count(self.piece)
        return None if times == self.times else f"{self.code} is another: it has {self.piece!r} {times} times"


@dataclass(frozen=True, slots=True)
class UsesOnce:
    """A module uses one of its global names at one place only."""

    module: str
    name: str

    def find_obstacle(self) -> str | None:
        tree = ast.parse(read_source(self.module))
        uses = sum(isinstance(node, ast.Name) and node.id == self.name for node in ast.walk(tree))
        return None if uses == 1 else f"{self.module} is another: it uses {self.name} {uses} times"


@dataclass(frozen=True, slots=True)
class Has:
    """An object has attributes or annotations of these names."""

    owner: str
    names: tuple[str, ...]

    def find_obstacle(self) -> str | None:
        owner = find(self.owner)
        known = {*dir(owner), *getattr(owner, "__annotations__", ())}
        missing = [name for name in self.names if name not in known]
        return f"{self.owner} lacks {', '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Digest:
    """The whole source of some code is, byte for byte, the one that was read when the patch was written."""

    what: str
    list_code: Callable[[], Sequence[Any]]
    digest: str

    def find_obstacle(self) -> str | None:
        return None if self.compute() == self.digest else f"{self.what} are others"

    def compute(self) -> str:
        """The digest of the installed code."""
        return hashlib.sha256("\n".join(map(read_source, self.list_code())).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Versions:
    """The version of Airflow is one of a series with which airfleet is tested."""

    prefixes: tuple[str, ...]

    def find_obstacle(self) -> str | None:
        from airflow.version import version  # noqa: PLC0415 - reading the registry imports no Airflow

        return None if version.startswith(self.prefixes) else "airfleet was not tested with this version"
