"""What the checks look at: a release, how its Dag files loaded, and what the platform has. Data, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from airfleet.releases.checks import usages
from airfleet.releases.checks.serialised import ParsedDag
from airfleet.releases.checks.source import SourceFile
from airfleet.releases.checks.usages import NameUsage
from airfleet.spec.fleet import Checks

FOLDERS = ("dags/", "include/")


@dataclass(frozen=True, slots=True)
class Access:
    """Something a Dag file used while it was loaded: a variable, connection, network or database; line 0 if unknown."""

    kind: str
    what: str
    line: int


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """How one Dag file loaded, on the target environment."""

    path: str
    dags: tuple[ParsedDag, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    unstable: tuple[str, ...] = ()
    accesses: tuple[Access, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ParsedFile:
        """The result that the parser wrote for one file."""
        return cls(
            path=data["path"],
            dags=tuple(ParsedDag(name, one.get("hash", ""), one["data"]) for name, one in data["dags"].items()),
            error=data.get("error"),
            seconds=data.get("seconds", 0.0),
            warnings=tuple(data.get("warnings", ())),
            unstable=tuple(data.get("unstable", ())),
            accesses=tuple(Access(one["kind"], one["what"], one["line"] or 0) for one in data.get("accesses", ())),
        )


@dataclass(frozen=True, slots=True)
class Inventory:
    """The names that the platform has; None where nobody could ask, and then nothing is missing."""

    connections: frozenset[str] | None = None
    variables: frozenset[str] | None = None
    slot_pools: frozenset[str] | None = None
    queues: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Migration:
    """Airflow 2 code that ruff found; `is_broken` when Airflow 3 has no such thing any more."""

    path: str
    line: int
    code: str
    what: str
    fix: str
    is_broken: bool


@dataclass(frozen=True, slots=True)
class FailedTest:
    """One test of the project that did not pass."""

    path: str
    line: int
    name: str
    what: str


@dataclass(frozen=True, slots=True)
class ProjectTests:
    """How the project's tests went; `problem` says why they did not run at all."""

    ran: int = 0
    failed: tuple[FailedTest, ...] = ()
    problem: str = ""


def read_sources(files: Mapping[str, str]) -> Mapping[str, SourceFile]:
    """The Python files of a release that may run, each read once."""
    return {
        path: SourceFile(path, text)
        for path, text in sorted(files.items())
        if path.startswith(FOLDERS) and path.endswith(".py")
    }


@dataclass(frozen=True)
class Inputs:
    """All that a release is judged by; `migrations` is None without ruff, `tests` when they were left out."""

    sources: Mapping[str, SourceFile]
    parses: tuple[ParsedFile, ...]
    now: datetime
    inventory: Inventory = Inventory()
    rules: Checks = Checks()  # noqa: RUF009  (frozen)
    migrations: tuple[Migration, ...] | None = ()
    tests: ProjectTests | None = None

    @cached_property
    def usages(self) -> tuple[tuple[SourceFile, NameUsage], ...]:
        """What the files name literally of variables and connections."""
        return tuple((source, usage) for source in self.sources.values() for usage in usages.find_in_source(source))

    def source(self, path: str) -> SourceFile:
        """The file at a path; an empty one where the release has none."""
        return self.sources.get(path) or SourceFile(path, "")

    def dags(self) -> Iterable[tuple[SourceFile, ParsedDag]]:
        """Every Dag with the file it comes from."""
        for parse in self.parses:
            for dag in parse.dags:
                yield self.source(parse.path), dag
