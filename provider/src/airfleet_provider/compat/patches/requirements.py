"""The kinds of requirements that a patch has on Airflow's code. Each kind checks itself."""

from __future__ import annotations

import dis
import hashlib
import importlib.util
import inspect
import linecache
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader
from pathlib import Path
from types import CodeType
from typing import Any, Protocol

# The value of a path that names nothing.
MISSING: Any = object()


class Requirement(Protocol):
    """A condition that the installed Airflow must meet."""

    def find_obstacle(self) -> str | None:
        """Return why the condition is not met, in a few words, or None if it is met.

        Raises:
            Exception: Any error of the import of the code.
        """


def split(path: str) -> tuple[Any, str]:
    """Return the object that contains the target of a path, and the name of the target in it.

    A path is `package.module:name` or `package.module:Class.name`.

    Raises:
        ImportError: The module does not exist.
        AttributeError: The class does not exist.
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
    """Return the value of a name in an object or in a dict, or MISSING."""
    return owner.get(name, MISSING) if isinstance(owner, dict) else getattr(owner, name, MISSING)


def find(path: str) -> Any:  # noqa: ANN401 - whatever a path names
    """Return the target of a path. A path without a colon names a module.

    Raises:
        ImportError: The module does not exist.
        AttributeError: The name does not exist.
    """
    if ":" not in path:
        return importlib.import_module(path)
    owner, name = split(path)
    found = get(owner, name)
    if found is MISSING:
        raise AttributeError(f"{path} is not there")
    return found


def read_source(code: Any) -> str:  # noqa: ANN401 - a path, or code
    """Return the source of some code. A module is not imported for it.

    The source is not cached, because a module of Airflow has up to half a megabyte.

    Raises:
        ImportError, AttributeError, OSError, TypeError: There is no such code, or it has no source.
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


def _read_code(module: str) -> CodeType:
    spec = importlib.util.find_spec(module)
    code = spec.loader.get_code(module) if spec and isinstance(spec.loader, InspectLoader) else None
    if code is None:
        raise ImportError(f"{module} is not there, or has no code of Python")
    return code


def _list_code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _list_code(one)


@dataclass(frozen=True, slots=True)
class Accepts:
    """A requirement: a function accepts these arguments."""

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
    """A requirement: the source of a function or module contains these pieces, in this order."""

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
    """A requirement: a function, class or module contains a piece of source exactly this number of times."""

    code: str
    piece: str
    times: int

    def find_obstacle(self) -> str | None:
        times = read_source(self.code).count(self.piece)
        return None if times == self.times else f"{self.code} is another: it has {self.piece!r} {times} times"


@dataclass(frozen=True, slots=True)
class UsesOnce:
    """A requirement: a module uses one of its global names at one place only.

    It counts in the compiled code: to parse a large module takes ten times as long, and some MiB for ever.
    """

    module: str
    name: str

    def find_obstacle(self) -> str | None:
        uses = sum(
            one.opname in ("LOAD_GLOBAL", "LOAD_NAME") and one.argval == self.name
            for code in _list_code(_read_code(self.module))
            if self.name in code.co_names
            for one in dis.get_instructions(code)
        )
        return None if uses == 1 else f"{self.module} is another: it uses {self.name} {uses} times"


@dataclass(frozen=True, slots=True)
class Has:
    """A requirement: an object has attributes or annotations with these names."""

    owner: str
    names: tuple[str, ...]

    def find_obstacle(self) -> str | None:
        owner = find(self.owner)
        known = {*dir(owner), *getattr(owner, "__annotations__", ())}
        missing = [name for name in self.names if name not in known]
        return f"{self.owner} lacks {', '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Digest:
    """A requirement: the source of some code has not changed by a byte since the patch was written."""

    what: str
    list_code: Callable[[], Sequence[Any]]
    digest: str

    def find_obstacle(self) -> str | None:
        return None if self.compute() == self.digest else f"{self.what} are others"

    def compute(self) -> str:
        """Return the digest of the installed code."""
        return hashlib.sha256("\n".join(map(read_source, self.list_code())).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Versions:
    """A requirement: airfleet was tested with the series of the installed Airflow."""

    prefixes: tuple[str, ...]

    def find_obstacle(self) -> str | None:
        from airflow.version import version  # noqa: PLC0415 - reading the registry imports no Airflow

        return None if version.startswith(self.prefixes) else "airfleet was not tested with this version"
