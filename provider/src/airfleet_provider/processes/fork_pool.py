"""Forked workers that process many items in parallel; a worker that dies or hangs costs only its current item."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait

from airfleet_provider.processes import lifecycle

# Each message of a child begins with one of these kinds.
QUESTION, ANSWER, SEPARATOR = b"question", b"answer", b"\n"
# The longest message in bytes, so that a child cannot fill the memory of the process that reads it.
LARGEST = 256 << 20


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The outcome of an item: the bytes that the child answered, or the reason why there is no answer."""

    item: str
    answer: bytes | None
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a question of a child. If it `is_kept` from other items, the child gets none of them any more."""

    content: bytes
    is_kept: bool = False


@dataclass(slots=True)
class ForkedWorker:
    """A forked process, its current item, since when it has worked on the item, and all items that it was given.

    `has_kept` says that its memory has an answer which other items may not read.
    """

    pid: int
    channel: Connection
    item: str | None = None
    since: float = field(default=0.0)
    given: list[str] = field(default_factory=list)
    has_kept: bool = False


def work_through(
    items: Iterable[str],
    prepare: Callable[[Callable[[bytes], bytes]], Callable[[str], bytes]],
    *,
    count: int,
    timeout_s: float,
    answer: Callable[[Sequence[str], bytes], Reply | None] = lambda *_: Reply(b""),
) -> Iterator[ItemOutcome]:
    """Yield one outcome for each item, in the order in which the items end.

    `prepare` runs in each child before its first item, and returns the function that processes an item. It receives a
    function with which the child sends a question to this process; `answer` answers the question here. It gets the
    items that the child has been given, the present one last: what an item has left in a child may ask in the name of
    a later one. If it returns None, the item begins anew in a child that has had no other. A child that got a reply
    which is kept from others ends after its item.
    """
    pending = deque(items)
    children: list[ForkedWorker] = []
    try:
        while pending or any(child.item is not None for child in children):
            while pending and len(children) < count:
                children.append(_fork(prepare))
                _assign(children[-1], pending.popleft())
            yield from _collect(children, pending, timeout_s, answer, prepare)
    finally:
        for child in children:
            _end(child)


def _collect(
    children: list[ForkedWorker],
    pending: deque[str],
    timeout_s: float,
    answer: Callable[[Sequence[str], bytes], Reply | None],
    prepare: Callable[[Callable[[bytes], bytes]], Callable[[str], bytes]],
) -> Iterator[ItemOutcome]:
    first = min(child.since for child in children) + timeout_s
    ready = wait([child.channel for child in children], max(0.0, first - time.monotonic()))
    now = time.monotonic()
    for child in list(children):
        item, seconds = child.item, now - child.since
        if item is None:
            continue
        if child.channel in ready:
            try:
                kind, _, said = child.channel.recv_bytes(LARGEST).partition(SEPARATOR)
            except (EOFError, OSError):
                children.remove(child)
                yield ItemOutcome(item, None, f"The process that parsed it {_end(child)}.", seconds)
                continue
            if kind != QUESTION:
                yield ItemOutcome(item, said, None, seconds)
                child.item = None
                if pending and not child.has_kept:
                    _assign(child, pending.popleft())
                else:
                    children.remove(child)
                    _end(child)
                continue
            if seconds < timeout_s:
                found = answer(tuple(child.given), said)
                if found is None:
                    children.remove(child)
                    _end(child)
                    children.append(_fork(prepare))
                    _assign(children[-1], item)
                    continue
                child.has_kept |= found.is_kept
                with contextlib.suppress(OSError):  # the child has died; the next read of its channel shows that
                    child.channel.send_bytes(found.content)
                continue
        # A child that always has one more question has no more time than any other.
        if seconds >= timeout_s:
            children.remove(child)
            _end(child)
            yield ItemOutcome(item, None, f"It was still not parsed after {timeout_s:.0f} s and was stopped.", seconds)


def _assign(child: ForkedWorker, item: str) -> None:
    child.item, child.since = item, time.monotonic()
    child.given.append(item)
    try:
        child.channel.send_bytes(item.encode())
    except OSError:
        return  # the child has died; the next read of its channel shows that


def _end(child: ForkedWorker) -> str:
    """Kill and reap a child; return how it ended."""
    child.channel.close()
    pid, status = os.waitpid(child.pid, os.WNOHANG)
    if pid == 0:
        # An exiting child closes its channel a moment before it can be reaped.
        deadline = time.monotonic() + 0.2
        while pid == 0 and time.monotonic() < deadline and child.item is not None:
            time.sleep(0.005)
            pid, status = os.waitpid(child.pid, os.WNOHANG)
    if pid == 0:
        os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _fork(prepare: Callable[[Callable[[bytes], bytes]], Callable[[str], bytes]]) -> ForkedWorker:
    ours, theirs = Pipe()
    parent = os.getpid()
    lifecycle.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return ForkedWorker(pid, ours)
    code = 1
    try:
        lifecycle.die_with(parent)
        lifecycle.close_others(theirs.fileno())

        def ask(question: bytes) -> bytes:
            theirs.send_bytes(QUESTION + SEPARATOR + question)
            return theirs.recv_bytes()

        work = prepare(ask)
        while True:
            theirs.send_bytes(ANSWER + SEPARATOR + work(theirs.recv_bytes().decode()))
    except (EOFError, lifecycle.ParentGoneError):
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        lifecycle.flush()
        os._exit(code)
