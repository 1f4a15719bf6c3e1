"""A release as an artefact: which files it has, its id, and how it travels. Standard library only.

This is the one module of the provider that the control side imports as well, so that both mean the same by a release.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# What of a project becomes part of a release; tests and state stay behind.
FOLDERS = ("dags", "include")
FILES = ("requirements.txt",)
IGNORED_NAMES = frozenset({"__pycache__", ".git", ".airfleet", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
# What Python writes, and what editors keep beside a file while it is edited.
IGNORED_FILES = re.compile(r".*\.(py[co]|sw[a-z]|tmp)|.*~|\.#.*|#.*#|4913|.*___jb_\w+___|\.DS_Store")
# Made on each host, and no part of the release: the last thing to be written into a folder that holds all of it.
MARK = ".airfleet/whole"
# Airflow knows one path of a Dag, the newest. That of a Dag whose file has moved leads here, in every release.
MOVED_FILE = ".airfleet/moved.py"
MOVED_SOURCE = """\
from airflow.sdk import get_parsing_context

from airfleet_provider import moved

moved.load(__file__, __name__, get_parsing_context().dag_id)
"""
IGNORE_FILE = ".airflowignore"
# Only dags/ holds Dag files; Airflow looks through the whole release.
IGNORE_CONTENT = b"/include/\n"
ID_PREFIX = "r"
ID_DIGITS = 16


class CorruptError(Exception):
    """What was unpacked is not what the release id promises."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One file of a release."""

    path: str
    digest: str
    size: int
    is_executable: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """All files of a release, sorted by path; the same files have the same id on any machine."""

    entries: tuple[Entry, ...]

    @property
    def id(self) -> str:
        """`r` and 16 hexadecimal digits of a SHA-256 over paths, contents and executable bits."""
        lines = [[entry.path, entry.digest, entry.is_executable] for entry in self.entries]
        return ID_PREFIX + hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:ID_DIGITS]

    def digests(self) -> dict[str, str]:
        """The digest of each file by its path."""
        return {entry.path: entry.digest for entry in self.entries}

    def dag_files(self) -> tuple[str, ...]:
        """The Python files below dags/."""
        return tuple(
            entry.path for entry in self.entries if entry.path.startswith("dags/") and entry.path.endswith(".py")
        )


def read(project: Path) -> tuple[Tree, Mapping[str, bytes]]:
    """The tree of a project as it is now, and the content of each of its files."""
    contents = {IGNORE_FILE: IGNORE_CONTENT}
    executable = set()
    for path in _walk(project):
        name = path.relative_to(project).as_posix()
        contents[name] = path.read_bytes()
        if os.access(path, os.X_OK):
            executable.add(name)
    return _tree(contents, executable), contents


def _walk(project: Path) -> Iterator[Path]:
    for name in FILES:
        if (project / name).is_file():
            yield project / name
    for folder in FOLDERS:
        for root, folders, files in os.walk(project / folder):
            folders[:] = sorted(name for name in folders if name not in IGNORED_NAMES)
            for name in sorted(files):
                if not IGNORED_FILES.fullmatch(name):
                    yield Path(root) / name


def _tree(contents: Mapping[str, bytes], executable: set[str]) -> Tree:
    return Tree(
        tuple(
            Entry(name, hashlib.sha256(content).hexdigest(), len(content), name in executable)
            for name, content in sorted(contents.items())
        )
    )


def pack(tree: Tree, contents: Mapping[str, bytes]) -> bytes:
    """A tar archive of the tree, the same bytes for the same tree."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in tree.entries:
            member = tarfile.TarInfo(entry.path)
            member.size = entry.size
            member.mode = 0o755 if entry.is_executable else 0o644
            archive.addfile(member, io.BytesIO(contents[entry.path]))
    return buffer.getvalue()


def unpack(release: str, archive: bytes, folder: Path, *, like: Path | None = None) -> None:
    """Put a release into a folder that is there whole or not at all; raises CorruptError unless it is that release.

    Safe when several processes do it at once: the first rename wins, and all have the same content. What is the same
    in the release at `like` is linked to: releases never change, and making a file costs 15 times as much as a link.
    A folder that nobody has verified, such as a copy that broke off, makes room.
    """
    if is_whole(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        contents: dict[str, bytes] = {}
        executable = set()
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for member in opened:
                path = PurePosixPath(member.name)
                content = opened.extractfile(member)
                if path.is_absolute() or ".." in path.parts or content is None:
                    raise CorruptError(f"{release} holds {member.name}, which is no plain file below it")
                contents[member.name] = content.read()
                if member.mode & 0o100:
                    executable.add(member.name)
        found = _tree(contents, executable).id
        if found != release:
            raise CorruptError(f"{release} was asked for, and {found} arrived")
        for parent in {(draft / name).parent for name in contents}:
            parent.mkdir(parents=True, exist_ok=True)
        for name, body in contents.items():
            mode = 0o555 if name in executable else 0o444
            if not (like and _link(like / name, draft / name, body, mode)):
                (draft / name).write_bytes(body)
                (draft / name).chmod(mode)
        draft.chmod(0o755)
        _seal(draft)
        _move_in(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move_in(draft: Path, folder: Path) -> None:
    # One at a time: what one has just moved in, another would take for the half of a copy that it saw before.
    turn = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not is_whole(folder):
            if folder.is_dir():
                discard(folder)
            draft.rename(folder)
    finally:
        os.close(turn)


def _link(old: Path, new: Path, body: bytes, mode: int) -> bool:
    """Make `new` another name of `old` if that is the same file."""
    try:
        with old.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != mode or file.read() != body:
                return False
        new.hardlink_to(old)
    except OSError:
        return False  # it is not there, or on another file system, or has all the links that one can have
    return True


def is_whole(folder: Path) -> bool:
    """Whether the folder was verified, or made here, since when nothing may change it."""
    return (folder / MARK).is_file()


def settle(release: str, folder: Path) -> bool:
    """Whether the release is in its folder, whole; a copy that somebody put there is verified once."""
    if is_whole(folder):
        return True
    if not folder.is_dir():
        return False
    try:
        verify(release, folder)
        _seal(folder)
    except CorruptError:
        return False
    except PermissionError:  # a folder that is only read, such as one on NFS: it is verified each time
        return True
    return True


def discard(folder: Path) -> None:
    """Have no such folder; nobody ever sees half of it."""
    with (
        contextlib.suppress(FileNotFoundError),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as grave,
    ):
        folder.rename(Path(grave) / folder.name)


def _seal(folder: Path) -> None:
    mark = folder / MARK
    mark.parent.mkdir(exist_ok=True)
    (folder / MOVED_FILE).write_text(MOVED_SOURCE)
    mark.touch()


def verify(release: str, folder: Path) -> None:
    """Raise CorruptError unless the folder holds exactly the release."""
    contents: dict[str, bytes] = {}
    executable = set()
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in IGNORED_NAMES]
        for name in files:
            path = Path(root) / name
            if IGNORED_FILES.fullmatch(name):
                continue
            contents[path.relative_to(folder).as_posix()] = path.read_bytes()
            if os.access(path, os.X_OK):
                executable.add(path.relative_to(folder).as_posix())
    found = _tree(contents, executable).id
    if found != release:
        raise CorruptError(f"{folder} is not {release} any more, but {found}")
