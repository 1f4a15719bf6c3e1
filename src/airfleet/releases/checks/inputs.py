"""The inputs of all checks, as plain data: a release, how its Dag files loaded, and what the platform has."""

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
from airfleet_provider.contract.sla_rules import SlaRule

FOLDERS = ("dags/", "include/")


@dataclass(frozen=True, slots=True)
class Access:
    """A variable, connection, network or database that a Dag file used while it loaded. Line 0 means unknown."""

    kind: str
    what: str
    line: int


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """How one Dag file loaded in the environment in which its tasks will run."""

    path: str
    dags: tuple[ParsedDag, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    unstable: tuple[str, ...] = ()
    accesses: tuple[Access, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ParsedFile:
        """Return the result that the parser wrote for one file."""
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
    """The names that the platform has. None means unknown, and then the checks report nothing as missing."""

    connections: frozenset[str] | None = None
    variables: frozenset[str] | None = None
    slot_pools: frozenset[str] | None = None
    queues: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class OutdatedCode:
    """Airflow 2 code that ruff found. `is_broken` means that Airflow 3 removed the name and did not only rename it."""

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
    """The results of the project's tests. `problem` says why they did not run; otherwise it is empty."""

    ran: int = 0
    failed: tuple[FailedTest, ...] = ()
    problem: str = ""


def read_sources(files: Mapping[str, str]) -> Mapping[str, SourceFile]:
    """Return the Python files of a release that Airflow may load, each parsed once."""
    return {
        path: SourceFile(path, text)
        for path, text in sorted(files.items())
        if path.startswith(FOLDERS) and path.endswith(".py")
    }


@dataclass(frozen=True)
class CheckInputs:
    """The input of every check. `migrations` is None if ruff is not installed, `tests` if the tests were left out.

    `slas` has the rules of fleet.yaml, each with its line.
    """

    sources: Mapping[str, SourceFile]
    parses: tuple[ParsedFile, ...]
    now: datetime
    inventory: Inventory = Inventory()
    rules: Checks = Checks()  # noqa: RUF009  (frozen)
    migrations: tuple[OutdatedCode, ...] | None = ()
    tests: ProjectTests | None = None
    slas: tuple[tuple[SlaRule, int], ...] = ()

    @cached_property
    def usages(self) -> tuple[tuple[SourceFile, NameUsage], ...]:
        """Return the variables and connections that the files name literally."""
        return tuple((source, usage) for source in self.sources.values() for usage in usages.find_in_source(source))

    def source(self, path: str) -> SourceFile:
        """Return the file at a path, or an empty file if the release has none."""
        return self.sources.get(path) or SourceFile(path, "")

    def dags(self) -> Iterable[tuple[SourceFile, ParsedDag]]:
        """Yield every Dag with the file that makes it."""
        for parse in self.parses:
            for dag in parse.dags:
                yield self.source(parse.path), dag
