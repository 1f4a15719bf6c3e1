"""The rewrite of a folder of Airflow 2 code by ruff's AIR rules and our own. It is made on a copy."""

from __future__ import annotations

import difflib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.migration import imports, source_rules, templates
from airfleet.operations.migration.findings import Handling, MigrationFinding
from airfleet.releases.checks import ruff
from airfleet.releases.checks.inputs import OutdatedCode
from airfleet.releases.checks.source import SourceFile
from airfleet_provider.contract import python_source
from airfleet_provider.contract.text import one_line

# Files that Airflow renders as templates.
TEMPLATE_SUFFIXES = frozenset({".sql", ".hql", ".sh", ".bash", ".json", ".yaml", ".yml", ".html", ".jinja", ".j2"})
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
LARGEST_BYTES = 2_000_000
# ruff names an argument without a module.
_ARGUMENT = re.compile(r"`\w+` is removed")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The old and the new text of every file that was read, and all findings. `unread` has paths and reasons."""

    old: Mapping[str, str]
    new: Mapping[str, str]
    findings: tuple[MigrationFinding, ...]
    unread: tuple[tuple[str, str], ...]

    @property
    def diff(self) -> str:
        """Return the changes as one unified diff, which `patch -p1` and `git apply` read."""
        return "".join(_diff(path, text, self.new[path]) for path, text in self.old.items() if text != self.new[path])


def rewrite(folder: Path) -> Rewrite:
    """Return what changes in a folder of Dags.

    Raises:
        UsageError: There is no such folder, or it has no Python file.
        AirfleetError: ruff is missing or fails.
    """
    if not folder.is_dir():
        raise UsageError("no such folder", where=str(folder), hint="name the folder of the Airflow 2 Dags")
    old, unread = _read(folder)
    if not any(path.endswith(".py") for path in old):
        raise UsageError("no Python file in this folder", where=str(folder), hint="name the folder of the Dags")
    with tempfile.TemporaryDirectory(prefix="airfleet-migrate-") as name:
        copy = Path(name)
        _write(copy, old)
        before = ruff.check_folder(copy)
        ruff.check_folder(copy, fix=True)
        rewritten = {path: (copy / path).read_bytes().decode() for path in old}
    new: dict[str, str] = {}
    found = list(_from_ruff(before))
    for path, text in old.items():
        new[path], own = _apply_own_rules(path, text, rewritten[path])
        found += own
    return Rewrite(old, new, _drop_repeated(found), tuple(unread))


def fix(project: Path) -> tuple[str, ...]:
    """Rewrite the files in a project's dags/ and include/ in place, and return the paths that ruff alone had left.

    ruff renames what a file uses. It leaves imports that nothing uses then, or that it names wrongly; with them the
    file does not load. An interruption leaves each file as it was or as it shall be.

    Raises:
        AirfleetError: ruff fails.
    """
    ruff.fix(project)
    changed = []
    for name in ("dags", "include"):
        folder = project / name
        texts = _read(folder)[0] if folder.is_dir() else {}
        for path, text in texts.items():
            source = SourceFile(path, text) if path.endswith(".py") else None
            mended = imports.mend(source, source)[0] if source else text
            if mended != text and python_source.parse(mended) is not None:
                _replace(folder / path, mended)
                changed.append(f"{name}/{path}")
    return tuple(changed)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.airfleet-fix")
    new.write_bytes(text.encode())
    shutil.copymode(path, new)
    new.replace(path)


def _read(folder: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    texts: dict[str, str] = {}
    unread: list[tuple[str, str]] = []
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if not name.isprintable():
            unread.append((one_line(name), "its name has characters that cannot be printed"))
            continue
        try:
            # No conversion of line ends: the diff must fit the file.
            text = _read_file(path).decode("utf-8")
        except UnicodeDecodeError as error:
            unread.append((name, str(error)))
            continue
        except OSError as error:
            unread.append((name, "a link, which is not followed" if error.errno == errno.ELOOP else str(error)))
            continue
        if path.suffix == ".py" and python_source.parse(text) is None:
            unread.append((name, "not valid Python 3: Python 2 code, or a template"))
            continue
        texts[name] = text
    return texts, unread


def _read_file(path: Path) -> bytes:
    """Return the content of a regular file. Others wrote the folder: a pipe, a device or a link may be there.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger than LARGEST_BYTES.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError("no regular file")
        content = stream.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise OSError(f"larger than {LARGEST_BYTES} bytes")
    return content


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix in TEMPLATE_SUFFIXES or path.suffix == ".py":
                yield path


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())


def _apply_own_rules(path: str, old: str, text: str) -> tuple[str, tuple[MigrationFinding, ...]]:
    """Return the text with our own changes on top of ruff's, and our own findings in the old text."""
    if not path.endswith(".py"):
        return templates.rewrite(text), tuple(source_rules.find_in_template_file(path, text))
    before = SourceFile(path, old)
    edited = source_rules.apply(text, source_rules.list_edits(SourceFile(path, text)))
    mended, gone = imports.mend(SourceFile(path, edited), before)
    if python_source.parse(mended) is None:
        raise AirfleetError("a rewrite made this file invalid", where=path, hint="report it; the file is unchanged")
    return mended, (*source_rules.find(before), *gone)


def _from_ruff(found: tuple[OutdatedCode, ...]) -> Iterator[MigrationFinding]:
    for one in found:
        what = one.what.rstrip(".;")
        if one.code == "AIR002":
            why = "without a schedule a Dag ran daily in Airflow 2, and has none in Airflow 3"
            yield MigrationFinding(
                one.path,
                one.line,
                one.code,
                Handling.BROKEN,
                what,
                why,
                "write the schedule, or schedule=None",
                minutes=5,
            )
        elif one.fix:
            why = "Airflow 3 removed it" if one.is_broken else "deprecated: a later version of Airflow 3 removes it"
            yield MigrationFinding(one.path, one.line, one.code, Handling.REWRITTEN, what, why, one.fix.rstrip("."))
        else:
            verdict = Handling.BROKEN if one.is_broken else Handling.REVIEW
            why = "Airflow 3 removed it" if one.is_broken else "deprecated: a later version of Airflow 3 removes it"
            if _ARGUMENT.match(what):
                yield MigrationFinding(
                    one.path, one.line, one.code, verdict, what, why, "remove the argument", minutes=5
                )
            else:
                yield MigrationFinding(
                    one.path, one.line, one.code, verdict, what, why, "see Airflow's guide to upgrading to 3"
                )


def _drop_repeated(found: list[MigrationFinding]) -> tuple[MigrationFinding, ...]:
    """Leave out what ruff and one of our own rules both found.

    Our finding says more, unless ruff can rewrite the place. It stands at the import of a name, ruff's at each use.
    """
    own: set[tuple[str, str]] = set()
    fixed: set[tuple[str, int, str]] = set()
    for one in found:
        for name in _names(one):
            if not _is_of_ruff(one):
                own.add((one.path, name))
            elif _is_rewritten(one):
                fixed.add((one.path, one.line, name))
    kept = [
        one
        for one in found
        if _is_rewritten(one)
        or not any(
            (one.path, name) in own if _is_of_ruff(one) else (one.path, one.line, name) in fixed for name in _names(one)
        )
    ]
    return tuple(sorted(dict.fromkeys(kept), key=lambda one: one.order))


def _is_of_ruff(one: MigrationFinding) -> bool:
    return one.rule.startswith("AIR")


def _is_rewritten(one: MigrationFinding) -> bool:
    return one.verdict is Handling.REWRITTEN


def _names(one: MigrationFinding) -> set[str]:
    """Return the last parts of the names that a finding quotes."""
    return {part.strip("`(…)=True").rpartition(".")[2] for part in one.what.split() if part.startswith("`")}


def _diff(path: str, old: str, new: str) -> str:
    lines = difflib.unified_diff(_split(old), _split(new), f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _split(text: str) -> list[str]:
    """Return the lines with their ends. Unlike those of text, lines of bytes do not end at a form feed."""
    return [line.decode() for line in text.encode().splitlines(keepends=True)]
