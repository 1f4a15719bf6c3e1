"""The archive of a release: the files of a release, its id, and how to pack, unpack and verify it."""

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

# The parts of a project that become part of a release; tests and state do not.
FOLDERS = ("dags", "include")
FILES = ("requirements.txt",)
IGNORED_NAMES = frozenset({"__pycache__", ".git", ".airfleet", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
# Files that Python writes, and files that editors create while a file is edited.
IGNORED_FILES = re.compile(r".*\.(py[co]|sw[a-z]|tmp)|.*~|\.#.*|#.*#|4913|.*___jb_\w+___|\.DS_Store")
# Marks a complete folder. Each host writes it last, after all files of the release; it is no part of the release.
MARK = ".airfleet/whole"
# Airflow stores one path of a Dag, the newest. If the file of a Dag has moved, that path is this file in every release.
MOVED_FILE = ".airfleet/moved.py"
MOVED_SOURCE = """\
from airflow.sdk import get_parsing_context

from airfleet_provider import moved

moved.load(__file__, __name__, get_parsing_context().dag_id)
"""
IGNORE_FILE = ".airflowignore"
# Only dags/ holds Dag files, but Airflow searches the whole release.
IGNORE_CONTENT = b"/include/\n"
ID_PREFIX = "r"
# Ids of earlier versions of airfleet have so many digits of the digest; messages show so many digits of every id.
ID_DIGITS = 16
# The resolution in seconds of the time of last use, so that not every starting task writes it.
USED_S = 3_600.0
# The errors of a folder in which no file can be created.
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
HINT = "copy into dags/ or include/ what Dags need from elsewhere, and remove the link"


class CorruptError(Exception):
    """The files do not have the id of the release."""


class UnacceptableFilesError(Exception):
    """A project has files that a release may not contain; `refused` maps each path to the reason."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{path} {why}" for path, why in sorted(refused.items())))
        self.refused = dict(refused)


@dataclass(frozen=True, slots=True, order=True)
class ArchivedFile:
    """One file of a release."""

    path: str
    digest: str
    size: int
    is_executable: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """All files of a release, sorted by path; the same files have the same id on any machine."""

    entries: tuple[ArchivedFile, ...]

    @property
    def id(self) -> str:
        """`r` and the SHA-256 over paths, contents and executable bits."""
        lines = [[entry.path, entry.digest, entry.is_executable] for entry in self.entries]
        return ID_PREFIX + hashlib.sha256(json.dumps(lines).encode()).hexdigest()

    def is_release(self, release: str) -> bool:
        """Return whether the id names these files; an id of an earlier version of airfleet has fewer digits."""
        return release in (self.id, shorten(self.id))

    def digests(self) -> dict[str, str]:
        """Return the digest of each file by its path."""
        return {entry.path: entry.digest for entry in self.entries}

    def dag_files(self) -> tuple[str, ...]:
        """Return the Python files below dags/."""
        return tuple(
            entry.path for entry in self.entries if entry.path.startswith("dags/") and entry.path.endswith(".py")
        )


def is_same(one: str, other: str) -> bool:
    """Return whether two release ids name the same files; either may be the shorter id of an earlier version."""
    return one == other or shorten(one) == other or shorten(other) == one


def shorten(release: str) -> str:
    """Return a release id in the short form for messages."""
    return release[: len(ID_PREFIX) + ID_DIGITS]


@dataclass(slots=True)
class Scan:
    """The content of each plain file of a folder, and every other entry with the reason why it is refused.

    No link is followed: each folder and file is opened by its name in its open parent folder, and the opened file is
    checked. So no process can put a link in its place between the check and the read.
    """

    contents: dict[str, bytes] = field(default_factory=dict)
    executable: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def tree(self) -> Tree:
        """The files that were read."""
        return _tree(self.contents, self.executable)

    def require(self) -> None:
        """Check that the folder has only plain files.

        Raises:
            UnacceptableFilesError: it has other entries.
        """
        if self.refused:
            raise UnacceptableFilesError(self.refused)

    def enter(self, folder: int, prefix: str, owner: int) -> None:
        """Read all files below an open folder that a release may contain."""
        for name in sorted(os.listdir(folder)):
            if name in IGNORED_NAMES or IGNORED_FILES.fullmatch(name):
                continue
            # Neither the database nor JSON can hold such a name.
            if (shown := name.encode(errors="backslashreplace").decode()) != name:
                self.refused[prefix + shown] = "has a name that is not UTF-8"
            else:
                self.take(folder, name, prefix + name, owner)

    def take(self, folder: int, name: str, path: str, owner: int) -> None:
        """Read one file or folder by its name in an open folder; ignore an entry that is gone."""
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
        # Without O_NONBLOCK, opening a pipe that replaced the file would wait for its other end.
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
            # Not os.access: it returns False for every file on a file system that is mounted noexec.
            if status.st_mode & stat.S_IXUSR:
                self.executable.add(path)
            return ""
        finally:
            os.close(descriptor)


LINK = "is a symbolic link"


def _refuse(status: os.stat_result, owner: int) -> str:
    """Return why a release may not contain an entry, or an empty text."""
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
    """Return the tree of a project as it is now, and the content of each of its files.

    Every link is refused. A link that leaves the project would copy its target, such as a key, into the release. A link
    inside the project would be a link in the folder and a copy in the release, and Dags could depend on the difference.

    Raises:
        UnacceptableFilesError: the project has files that a release may not contain.
    """
    scan = look(project)
    scan.require()
    return scan.tree, scan.contents


def look(project: Path) -> Scan:
    """Return the files of a project that become part of a release, and those that a release may not contain."""
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
            ArchivedFile(name, hashlib.sha256(content).hexdigest(), len(content), name in executable)
            for name, content in sorted(contents.items())
        )
    )


def pack(tree: Tree, contents: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of the tree, with the same bytes for the same tree."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in tree.entries:
            member = tarfile.TarInfo(entry.path)
            member.size = entry.size
            member.mode = 0o755 if entry.is_executable else 0o644
            archive.addfile(member, io.BytesIO(contents[entry.path]))
    return buffer.getvalue()


def read_archive(release: str, archive: bytes) -> tuple[Tree, Mapping[str, bytes]]:
    """Return the tree in an archive, and the content of each file.

    Raises:
        CorruptError: the archive cannot be read, or does not have the id of the release.
    """
    contents, executable = _read_archive(release, archive)
    tree = _tree(contents, executable)
    if not tree.is_release(release):
        raise CorruptError(f"the archive of {release} contains the files of {tree.id}")
    return tree, contents


def overlay(tree: Tree, contents: Mapping[str, bytes], more: Mapping[str, bytes]) -> tuple[Tree, Mapping[str, bytes]]:
    """Return a tree in which `more` replaces or adds files."""
    merged = {IGNORE_FILE: IGNORE_CONTENT, **contents, **more}
    return _tree(merged, {entry.path for entry in tree.entries if entry.is_executable} - more.keys()), merged


def unpack(release: str, archive: bytes, folder: Path, *, like: Path | None = None) -> None:
    """Unpack a release into a folder atomically; do nothing if the folder is complete already.

    Several processes may do this at once: the first rename wins, and all have the same content. Files that are equal in
    the release at `like` become hard links: releases never change, and creating a file takes 15 times as long as a
    link. A folder that was not verified, such as an interrupted copy, is replaced.

    Raises:
        CorruptError: the archive cannot be read, or does not have the id of the release.
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
    # Lock: another process that saw an incomplete folder earlier must not remove the complete folder moved in since.
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
    """Make `new` a hard link to `old` if `old` has the same content and mode; return whether it did."""
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
        return False  # `old` is missing, is on another file system, or has the maximum number of links
    new.unlink()  # another file has replaced `old` since it was read
    return False


def is_whole(folder: Path) -> bool:
    """Return whether the folder is complete: it was unpacked or verified here, and must not change since then."""
    return (folder / MARK).is_file()


def use(folder: Path) -> bool:
    """Return whether the folder is complete; if so, record its use now, with a resolution of `USED_S`."""
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
    """Return whether the release is in its folder and complete; verify a folder without the mark once."""
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
        # A read-only folder, such as an NFS mount, gets no mark, and so is verified each time.
        if error.errno not in READ_ONLY:
            raise
    return True


def discard(folder: Path) -> None:
    """Remove a folder atomically; do nothing if it does not exist."""
    with contextlib.suppress(FileNotFoundError), aside(folder):
        pass


@contextlib.contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """Move a folder away atomically and yield its new path; remove it afterwards unless the caller moved it back."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as grave:
        yield folder.rename(Path(grave) / folder.name)


def _seal(folder: Path) -> None:
    mark = folder / MARK
    mark.parent.mkdir(exist_ok=True)
    (folder / MOVED_FILE).write_text(MOVED_SOURCE)
    mark.touch()


def verify(release: str, folder: Path) -> None:
    """Check that the folder contains exactly the release.

    Raises:
        CorruptError: it does not.
    """
    scan = Scan()
    with _opened(folder) as root:
        scan.enter(root, "", os.fstat(root).st_uid)
    if scan.refused:
        raise CorruptError(f"{folder} is not {release} any more: {UnacceptableFilesError(scan.refused)}")
    if not scan.tree.is_release(release):
        raise CorruptError(f"{folder} is not {release} any more, but {scan.tree.id}")
