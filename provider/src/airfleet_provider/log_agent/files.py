"""Reads log files as they grow: whole lines, and each from its own position on."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from airfleet_provider.log_agent.positions import FilePosition

# Bytes that are read at once from one file, so that one file does not keep the others waiting.
CHUNK = 256 << 10
# The first bytes of a file, whose digest tells it from another file with its inode.
HEAD = 256


@dataclass(slots=True)
class LogFile:
    """A file that is read, its position, and what its last line said of its time and level.

    `ended` is when the agent last saw that the file had no further byte, in microseconds since 1970; 0 if it did not.
    What comes later was written later, whatever time it names.
    """

    path: str
    position: FilePosition
    at: int = 0
    level: str = "info"
    ended: int = 0

    @property
    def key(self) -> tuple[int, int]:
        return self.position.device, self.position.inode


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file, each with the offset of its end. `is_last` means that the file has no further line now."""

    lines: tuple[tuple[int, bytes], ...]
    is_last: bool


@contextmanager
def open_file(path: str) -> Iterator[int]:
    """Yield a descriptor of a regular file. A link is not followed, as a task may have put it there.

    Raises:
        OSError: It cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_position(descriptor: int, source: str, offset: int = 0) -> FilePosition:
    """Return the position of an open file that is known from now on as `source`."""
    status = os.fstat(descriptor)
    head = os.pread(descriptor, HEAD, 0)
    return FilePosition(status.st_dev, status.st_ino, source, offset, len(head), zlib.crc32(head))


def has_head(descriptor: int, position: FilePosition) -> bool:
    """Return whether an open file begins as the file of the position did."""
    head = os.pread(descriptor, position.head_length, 0)
    return len(head) == position.head_length and zlib.crc32(head) == position.head_digest


def extend_head(descriptor: int, position: FilePosition) -> tuple[int, int]:
    """Return the length and digest of the beginning of a file that has grown since it was met."""
    if position.head_length == HEAD:
        return position.head_length, position.head_digest
    head = os.pread(descriptor, HEAD, 0)
    return len(head), zlib.crc32(head)


def read_chunk(descriptor: int, offset: int) -> Chunk:
    """Return the next whole lines. A line that is longer than CHUNK is returned in pieces."""
    block = os.pread(descriptor, CHUNK, offset)
    end = block.rfind(b"\n") + 1
    is_last = len(block) < CHUNK
    if not end and not is_last:
        return Chunk(((offset + len(block), block),), False)
    lines: list[tuple[int, bytes]] = []
    for line in block[:end].split(b"\n")[:-1]:
        offset += len(line) + 1
        lines.append((offset, line))
    return Chunk(tuple(lines), is_last)
