"""The manifest of a release: its files, its Git commit, and who built it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airfleet.errors import AirfleetError
from airfleet_provider.contract import release_archive
from airfleet_provider.contract.release_archive import Tree

GIT_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Commit:
    """The Git commit of a project. `dirty` means that the files differ from the commit."""

    id: str
    branch: str
    author: str
    dirty: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a release. `files` maps paths to digests, and the id depends on `files` alone."""

    id: str
    files: Mapping[str, str]
    commit: Commit | None
    actor: str
    message: str
    airflow: str
    python: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Difference:
    """The paths that differ between two releases."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.removed or self.changed)


def read_tree(project: Path) -> tuple[Tree, Mapping[str, bytes]]:
    """Return the files of a project that make a release, and their contents by digest.

    Raises:
        AirfleetError: The project has a file that no release may contain.
    """
    try:
        return release_archive.read(project)
    except release_archive.UnacceptableFilesError as error:
        path, why = min(error.refused.items())
        more = f" (and {len(error.refused) - 1} more such)" if len(error.refused) > 1 else ""
        raise AirfleetError(f"{why}, which no release may hold{more}", where=path, hint=release_archive.HINT) from error


def describe(tree: Tree, *, commit: Commit | None, actor: str, message: str, airflow: str, python: str) -> Manifest:
    """Return the manifest of a tree of files."""
    return Manifest(tree.id, tree.digests(), commit, actor, message, airflow, python)


def compare(old: Mapping[str, str], new: Mapping[str, str]) -> Difference:
    """Return the difference between the files of two releases. Each release maps paths to digests."""
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(path for path in old.keys() & new.keys() if old[path] != new[path])),
    )


def read_commit(project: Path) -> Commit | None:
    """Return the commit of a project, or None if it is not a checkout, has no commit, or Git is not installed."""
    head = _git(project, "log", "-1", "--format=%H%n%an <%ae>")
    if head is None:
        return None
    commit, author = head.split("\n", 1)
    branch = _git(project, "rev-parse", "--abbrev-ref", "HEAD") or ""
    dirty = bool(_git(project, "status", "--porcelain", "--", "."))
    return Commit(commit, branch, author, dirty)


def _git(project: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *words], capture_output=True, text=True, check=False, timeout=GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
