"""Forked children that work through many items in parallel; one that dies or hangs costs only its current item."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: the bytes that the child answered, or why there are none."""

    item: str
    answer: bytes | None
    error: str | None
    seconds: float


@dataclass(slots=True)
class Child:
    """A forked process and what it is busy with."""

    pid: int
    channel: Connection
    item: str | None = None
    since: float = field(default=0.0)


def work_through(
    items: Iterable[str], prepare: Callable[[], Callable[[str], bytes]], *, count: int, timeout_s: float
) -> Iterator[Outcome]:
    """One outcome for each item, in the order in which they end; `prepare` runs in each child before its first item."""
    pending = deque(items)
    children: list[Child] = []
    try:
        while pending or any(child.item is not None for child in children):
            while pending and len(children) < count:
                children.append(_fork(prepare, [child.channel for child in children]))
                _assign(children[-1], pending.popleft())
            yield from _collect(children, pending, timeout_s)
    finally:
        for child in children:
            _end(child)


def _collect(children: list[Child], pending: deque[str], timeout_s: float) -> Iterator[Outcome]:
    first = min(child.since for child in children) + timeout_s
    ready = wait([child.channel for child in children], max(0.0, first - time.monotonic()))
    now = time.monotonic()
    for child in list(children):
        item, seconds = child.item, now - child.since
        if item is None:
            continue
        if child.channel in ready:
            try:
                answer = child.channel.recv_bytes()
            except (EOFError, OSError):
                children.remove(child)
                yield Outcome(item, None, f"The process that parsed it {_end(child)}.", seconds)
                continue
            yield Outcome(item, answer, None, seconds)
            child.item = None
            if pending:
                _assign(child, pending.popleft())
            else:
                children.remove(child)
                _end(child)
        elif seconds >= timeout_s:
            children.remove(child)
            _end(child)
            yield Outcome(item, None, f"It was still not parsed after {timeout_s:.0f} s and was stopped.", seconds)


def _assign(child: Child, item: str) -> None:
    child.item, child.since = item, time.monotonic()
    try:
        child.channel.send_bytes(item.encode())
    except OSError:
        return  # it has died; the end of its channel says so


def _end(child: Child) -> str:
    """Kill and reap a child; how it ended."""
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


def _fork(prepare: Callable[[], Callable[[str], bytes]], others: list[Connection]) -> Child:
    ours, theirs = Pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return Child(pid, ours)
    code = 1
    try:
        ours.close()
        for other in others:
            other.close()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            work = prepare()
            while True:
                theirs.send_bytes(work(theirs.recv_bytes().decode()))
    except EOFError:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
