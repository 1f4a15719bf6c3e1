"""The files of logs on a host: found, read in pieces, compared, removed and written, whatever a task put beside them.

No link is followed, and no pipe is waited for.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from airfleet_provider.contract.archive_store import ArchiveStoreError

# Bytes of a piece of a log.
PIECE_BYTES = 4 * 2**20
# A task may have put anything into the folder of its run. Folders below that are deeper are no part of it, as each that
# is open takes a descriptor; and a file whose holes make it longer than this, and than so many times what it takes on
# the disk, would be read for days.
DEEPEST, HOLES_BYTES, HOLES_RATIO = 16, 2**20, 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A pipe must not hold up who opens it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def remove(folder: Path, path: PurePosixPath, pieces: Sequence[tuple[int, str]]) -> bool | None:
    """Remove a file with this content and return True; None if it is gone; False if it has changed or cannot go."""
    with _open_folder(folder, path.parent.parts) as number:
        if number is None:
            return None
        is_same = _is_same(number, path.name, pieces)
        if is_same:
            try:
                os.unlink(path.name, dir_fd=number)
            except OSError:
                return False
    if is_same:
        _remove_empty(folder, path.parent)
    return is_same


def walk(folder: Path, dag_id: str, run_id: str) -> Iterator[tuple[str, int]]:
    """Yield each file below the folder of a run: its path below `folder`, and a descriptor. No link is followed."""
    top = f"dag_id={dag_id}", f"run_id={run_id}"
    if any("/" in one for one in top):
        return
    with _open_folder(folder, top) as found:
        if found is None:
            return
        for parent, folders, names, number in os.fwalk(".", dir_fd=found, follow_symlinks=False):
            folders.sort()
            if parent.count("/") >= DEEPEST:
                folders.clear()
            for name in sorted(names):
                path = str(PurePosixPath(*top, parent, name))
                try:
                    path.encode()
                    file = os.open(name, _READ, dir_fd=number)
                except (OSError, UnicodeEncodeError):
                    continue
                try:
                    if _is_log(file):
                        yield path, file
                finally:
                    os.close(file)


def _is_log(number: int) -> bool:
    """Whether an open file is one of lines, and not a pipe or next to nothing but holes."""
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        return False
    if found.st_size <= HOLES_BYTES + HOLES_RATIO * 512 * found.st_blocks:
        return True
    # Some file systems do not count blocks. Those that know no holes have the first one at the end of the file.
    hole = os.lseek(number, 0, os.SEEK_HOLE)
    os.lseek(number, 0, os.SEEK_SET)
    return hole >= found.st_size


@contextlib.contextmanager
def _open_folder(folder: Path, parts: Sequence[str]) -> Iterator[int | None]:
    """A descriptor of a folder below another one, or None if it is not there, or a link is on the way."""
    with contextlib.ExitStack() as stack:
        try:
            number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, number)
            for one in parts:
                number = os.open(one, _FOLDER, dir_fd=number)
                stack.callback(os.close, number)
        except (OSError, ValueError):
            yield None
        else:
            yield number


def read_bytes(number: int) -> Iterator[bytes]:
    # A file that grows as fast as it is read would have no end. What it has more than now keeps it on the host.
    left = os.fstat(number).st_size
    # An empty file is a log too.
    yield b""
    while content := os.read(number, min(PIECE_BYTES, left)):
        left -= len(content)
        yield content


def split_bytes(contents: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Pieces of PIECE_BYTES, each with its position; one that is empty if there is nothing."""
    position, waiting = 0, bytearray()
    for content in contents:
        waiting += content
        while len(waiting) >= PIECE_BYTES:
            yield position, bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
            position += PIECE_BYTES
    if waiting or not position:
        yield position, bytes(waiting)


def _is_same(folder: int, name: str, pieces: Sequence[tuple[int, str]]) -> bool | None:
    """Whether a file is what was archived; None if it is gone."""
    try:
        number = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return False
        for (position, sha256), end in zip(pieces, [*(one for one, _ in pieces[1:]), None], strict=True):
            # Whatever it has become since: no more than one piece of it is in memory.
            content = file.read(PIECE_BYTES + 1 if end is None else end - position)
            if hashlib.sha256(content).hexdigest() != sha256:
                return False
    return True


def _remove_empty(folder: Path, below: PurePosixPath) -> None:
    """Remove the folders of the task and of the run if nothing is left in them. Those of Dags stay."""
    for path in itertools.takewhile(lambda one: len(one.parts) > 1, (below, *below.parents)):
        with _open_folder(folder, path.parent.parts) as number:
            try:
                os.rmdir(path.name, dir_fd=number)
            except (OSError, TypeError):
                return


@dataclass(frozen=True, slots=True)
class _Draft:
    """A log on its way back: under a name that no reader looks for until it is complete."""

    folder: int
    name: str
    draft: str
    file: IO[bytes]

    def finish(self) -> int:
        """Give the log its name, and return 1; or 0 if there is such a file already."""
        # First: a log that is there is never restored again, and a power cut must not leave an empty one.
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        try:
            os.link(self.draft, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except FileExistsError:
            return 0
        return 1


def name_draft(name: str) -> str:
    """Return the name of a log that is not complete yet. The log's own may be as long as a name can be."""
    return f".{hashlib.sha256(name.encode()).hexdigest()[:32]}.restored"


@contextlib.contextmanager
def open_draft(folder: Path, path: str) -> Iterator[_Draft]:
    """Raises ArchiveStoreError for a path that leads elsewhere, or cannot be written."""
    parts = PurePosixPath(path).parts
    if not parts[:-1] or any(one in {"/", ".."} for one in parts):
        raise ArchiveStoreError(f"the archive names a log outside of the folder of logs: {path}")
    # One process restores at a time, so what is there under this name is of one that was killed, or of a task.
    name = name_draft(parts[-1])
    with contextlib.ExitStack() as stack:
        try:
            number = _make_folders(folder, parts[:-1], stack)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=number)
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664, dir_fd=number)
            stack.callback(os.unlink, name, dir_fd=number)
            yield _Draft(number, parts[-1], name, stack.enter_context(os.fdopen(file, "wb")))
        except OSError as error:
            raise ArchiveStoreError(f"cannot restore the log {path}: {error}") from error


def _make_folders(folder: Path, parts: Sequence[str], stack: contextlib.ExitStack) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, number)
    for one in parts:
        with contextlib.suppress(FileExistsError):
            os.mkdir(one, 0o775, dir_fd=number)
        number = os.open(one, _FOLDER, dir_fd=number)
        stack.callback(os.close, number)
    return number
