"""Another process of the same user reads nothing of a process that has hidden its memory, or of its children."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from airfleet_provider.processes import lifecycle, oom_priority

NOBODY = 65534


def ask_child(do: Callable[[], str]) -> str:
    """Return what a child without root's rights says."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
                # The kernel hides the memory of a process that changes its user.
                lifecycle._prctl(lifecycle.PR_SET_DUMPABLE, 1)
            os.write(theirs, do().encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


@contextlib.contextmanager
def sleeping_child(begin: Callable[[], object]) -> Iterator[int]:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        begin()
        os.write(theirs, b"x")
        signal.pause()
        os._exit(0)
    os.read(ours, 1)
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def read_memory(pid: int) -> str:
    try:
        with Path(f"/proc/{pid}/mem").open("rb"):
            return "open"
    except PermissionError:
        return "refused"


def test_the_memory_of_a_process_and_of_its_later_children_is_hidden_from_others_of_its_user() -> None:
    def attack(begin: Callable[[], object]) -> str:
        def attempt() -> str:
            with sleeping_child(begin) as pid:
                return read_memory(pid)

        return ask_child(attempt)

    def fork_and_wait() -> None:
        lifecycle.hide_memory()
        oom_priority.offer(oom_priority.SUPERVISOR)

    assert attack(lambda: None) == "open", "else this test shows nothing"
    assert attack(lifecycle.hide_memory) == "refused"
    assert attack(fork_and_wait) == "refused", "raising the score has shown the memory for good"


def test_a_fork_has_its_score_without_showing_what_it_has_inherited() -> None:
    """A child that raised its score itself would show its memory, and that of its parent, for that moment."""

    def read_score() -> int:
        return int(oom_priority.SCORE.read_text())

    def fork_twice() -> str:
        lifecycle.hide_memory()
        own = read_score()
        oom_priority.offer_forks(own + 7)
        said = []
        for _ in range(2):
            ours, theirs = os.pipe()
            pid = os.fork()
            if pid == 0:
                # The number of the parent's file is that of another one here.
                with Path(os.devnull).open("w") as other:
                    grandchild = os.fork()
                    if grandchild == 0:
                        os._exit(0)
                    os.waitpid(grandchild, 0)
                    other.write("x")
                shown = lifecycle._prctl(lifecycle.PR_GET_DUMPABLE)
                os.write(theirs, f"{read_score() - own} {shown}".encode())
                os._exit(0)
            os.waitpid(pid, 0)
            os.close(theirs)
            with os.fdopen(ours) as child:
                said.append(child.read())
            said.append(str(read_score() - own))
        return f"{' '.join(said)} {lifecycle._prctl(lifecycle.PR_GET_DUMPABLE)}"

    # In the child and whether it shows its memory, in the parent afterwards; the same again; the parent's memory.
    assert ask_child(fork_twice) == "7 0 0 7 0 0 0"


def test_a_process_with_hidden_memory_can_still_offer_itself_to_the_kernel() -> None:
    def offer() -> str:
        lifecycle.hide_memory()
        oom_priority.offer(oom_priority.TASK)
        return Path("/proc/self/oom_score_adj").read_text().strip()

    assert int(ask_child(offer)) >= oom_priority.TASK
