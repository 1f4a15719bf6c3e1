"""The archive of a release: which files a release has, its id, and how it is packed, unpacked and verified."""

from __future__ import annotations

import contextlib
import errno
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
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
# Releases of earlier versions have so many digits of their digest in their id; people are shown so many of any.
ID_DIGITS = 16
# How exactly it is known when a release was last used; a task that begins should not write each time.
USED_S = 3_600.0
# What the kernel says of a folder in which nothing can be made.
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
HINT = "copy into dags/ or include/ what Dags need from elsewhere, and remove the link"


class CorruptError(Exception):
    """What was unpacked is not what the release id promises."""


class UnacceptableFilesError(Exception):
    """A project holds something in dags/ or include/ that may not become part of a release; `refused` says why."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{path} {why}" for path, why in sorted(refused.items())))
        self.refused = dict(refused)


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
        """`r` and the SHA-256 over paths, contents and executable bits."""
        lines = [[entry.path, entry.digest, entry.is_executable] for entry in self.entries]
        return ID_PREFIX + hashlib.sha256(json.dumps(lines).encode()).hexdigest()

    def is_release(self, release: str) -> bool:
        """Whether the id names these files; an id of an earlier version of airfleet has fewer digits."""
        return release in (self.id, shorten(self.id))

    def digests(self) -> dict[str, str]:
        """The digest of each file by its path."""
        return {entry.path: entry.digest for entry in self.entries}

    def dag_files(self) -> tuple[str, ...]:
        """The Python files below dags/."""
        return tuple(
            entry.path for entry in self.entries if entry.path.startswith("dags/") and entry.path.endswith(".py")
        )


def is_same(one: str, other: str) -> bool:
    """Whether two release ids name the same files: one of them may be the shorter id of an earlier version."""
    return one == other or shorten(one) == other or shorten(other) == one


def shorten(release: str) -> str:
    """A release id as people are shown it."""
    return release[: len(ID_PREFIX) + ID_DIGITS]


@dataclass(slots=True)
class Scan:
    """What a folder holds: the content of each plain file, and what is no plain file of this folder, with the reason.

    The kernel follows no link on the way: each folder and file is opened by its name in the folder above, and what
    was opened is looked at, so that nobody can put a link there between the look and the reading.
    """

    contents: dict[str, bytes] = field(default_factory=dict)
    executable: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def tree(self) -> Tree:
        """The files that were read."""
        return _tree(self.contents, self.executable)

    def require(self) -> None:
        """Raise RefusedError if there was anything but plain files."""
        if self.refused:
            raise UnacceptableFilesError(self.refused)

    def enter(self, folder: int, prefix: str, owner: int) -> None:
        """Read all that a release may hold below an open folder."""
        for name in sorted(os.listdir(folder)):
            if name not in IGNORED_NAMES and not IGNORED_FILES.fullmatch(name):
                self.take(folder, name, prefix + name, owner)

    def take(self, folder: int, name: str, path: str, owner: int) -> None:
        """Read one file or folder by its name in an open folder; what has gone meanwhile was never there."""
        try:
            if not (reason := _refuse(os.stat(name, dir_fd=folder, follow_symlinks=False), owner)):
                reason = self._open(folder, name, path, owner)
        except FileNotFoundError:
            return
        except OSError as error:
            reason = LINK if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        if reason:
            self.refused[path] = reason

    def _open(self, folder: int, name: str, path: str, owner: int) -> str:
        # Without O_NONBLOCK, the opening of a pipe that took the place of the file would wait for its other end.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            if reason := _refuse(status, owner):
                return reason
            if stat.S_ISDIR(status.st_mode):
                self.enter(descriptor, f"{path}/", owner)
                return ""
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                self.contents[path] = file.read()
            # Not os.access: nothing may be executed from a file system that is mounted so.
            if status.st_mode & stat.S_IXUSR:
                self.executable.add(path)
            return ""
        finally:
            os.close(descriptor)


LINK = "is a symbolic link"


def _refuse(status: os.stat_result, owner: int) -> str:
    """Why something may not be part of a release, or nothing."""
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        return LINK
    if stat.S_ISDIR(mode):
        return ""
    if not stat.S_ISREG(mode):
        return "is neither a file nor a folder"
    if status.st_nlink > 1 and status.st_uid != owner:
        return "is another name (a hard link) of a file that belongs to another user than the project"
    return ""


def read(project: Path) -> tuple[Tree, Mapping[str, bytes]]:
    """The tree of a project as it is now, and the content of each of its files; raises RefusedError.

    A link is refused wherever it leads. One that leaves the project would carry what it leads to, such as a key, into
    the release; one that stays inside would be a link in the folder and a copy in the release, and Dags could tell.
    """
    scan = look(project)
    scan.require()
    return scan.tree, scan.contents


def look(project: Path) -> Scan:
    """What of a project becomes part of a release, and what of it may not."""
    scan = Scan(contents={IGNORE_FILE: IGNORE_CONTENT})
    with _opened(project) as root:
        owner = os.fstat(root).st_uid
        for name in (*FILES, *FOLDERS):
            scan.take(root, name, name, owner)
    return scan


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


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


def read_archive(release: str, archive: bytes) -> tuple[Tree, Mapping[str, bytes]]:
    """The tree in an archive, and the content of each file; raises CorruptError unless it is that release."""
    contents, executable = _read_archive(release, archive)
    tree = _tree(contents, executable)
    if not tree.is_release(release):
        raise CorruptError(f"{release} was asked for, and {tree.id} arrived")
    return tree, contents


def overlay(tree: Tree, contents: Mapping[str, bytes], more: Mapping[str, bytes]) -> tuple[Tree, Mapping[str, bytes]]:
    """A tree with other files put over it."""
    merged = {IGNORE_FILE: IGNORE_CONTENT, **contents, **more}
    return _tree(merged, {entry.path for entry in tree.entries if entry.is_executable} - more.keys()), merged


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
        tree, contents = read_archive(release, archive)
        executable = {entry.path for entry in tree.entries if entry.is_executable}
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


def _read_archive(release: str, archive: bytes) -> tuple[dict[str, bytes], set[str]]:
    contents: dict[str, bytes] = {}
    executable = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for member in opened:
                content = opened.extractfile(member) if member.isreg() else None
                if content is None or member.name in contents or not _is_plain(member.name):
                    raise CorruptError(f"{release} holds {member.name!r}, which is no plain file below it")
                contents[member.name] = content.read()
                if member.mode & stat.S_IXUSR:
                    executable.add(member.name)
    except tarfile.TarError as error:
        raise CorruptError(f"the archive of {release} cannot be read: {error}") from error
    return contents, executable


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and "\0" not in name
    return is_inside and not IGNORED_NAMES.intersection(path.parts)


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
        descriptor = os.open(old, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != mode or file.read() != body:
                return False
            new.hardlink_to(old)
            if os.path.samestat(new.lstat(), status):
                return True
    except OSError:
        return False  # it is not there, or on another file system, or has all the links that one can have
    new.unlink()  # somebody has put another file there since
    return False


def is_whole(folder: Path) -> bool:
    """Whether the folder was verified, or made here, since when nothing may change it."""
    return (folder / MARK).is_file()


def use(folder: Path) -> bool:
    """Whether the folder is whole; says of one that is that somebody uses it now, to the hour."""
    mark = folder / MARK
    try:
        if time.time() - mark.stat().st_mtime > USED_S:
            os.utime(mark)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        return is_whole(folder)
    return True


def settle(release: str, folder: Path) -> bool:
    """Whether the release is in its folder, whole; a copy that somebody put there is verified once."""
    if is_whole(folder):
        return True
    if not folder.is_dir():
        return False
    try:
        verify(release, folder)
    except CorruptError:
        return False
    try:
        _seal(folder)
    except OSError as error:
        # A folder that is only read, such as one on NFS: it is verified each time.
        if error.errno not in READ_ONLY:
            raise
    return True


def discard(folder: Path) -> None:
    """Have no such folder; nobody ever sees half of it."""
    with contextlib.suppress(FileNotFoundError), aside(folder):
        pass


@contextlib.contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """Move a folder away at once; where it is now is removed afterwards, unless it was moved back."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as grave:
        yield folder.rename(Path(grave) / folder.name)


def _seal(folder: Path) -> None:
    mark = folder / MARK
    mark.parent.mkdir(exist_ok=True)
    (folder / MOVED_FILE).write_text(MOVED_SOURCE)
    mark.touch()


def verify(release: str, folder: Path) -> None:
    """Raise CorruptError unless the folder holds exactly the release."""
    scan = Scan()
    with _opened(folder) as root:
        scan.enter(root, "", os.fstat(root).st_uid)
    if scan.refused:
        raise CorruptError(f"{folder} is not {release} any more: {UnacceptableFilesError(scan.refused)}")
    if not scan.tree.is_release(release):
        raise CorruptError(f"{folder} is not {release} any more, but {scan.tree.id}")
