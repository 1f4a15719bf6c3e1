"""Which process the kernel kills first if memory runs out: a task, then its zygote, then its supervisor.

By default the kernel kills the largest process. If a task forks without end, that may be the worker, whose tasks all
end with it. Children inherit the score. Every process may raise its own score, and lower it again to what root gave it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from airfleet_provider.processes import kernel_file, lifecycle

SCORE = Path("/proc/self/oom_score_adj")
# Thousandths of the memory limit, which the kernel adds to the memory of the process. The worker itself stays at 0.
SUPERVISOR, WARM, TASK = 200, 300, 500


def offer(score: int) -> None:
    """Let the kernel kill this process, and its later children, before processes with a lower score."""
    with suppress(OSError, ValueError):  # without /proc the kernel's own choice stays
        if int(kernel_file.read(SCORE)) < score:
            # The file of a process that has hidden its memory belongs to root.
            with lifecycle.own_files_of_proc():
                kernel_file.write(SCORE, score)


def offer_forks(score: int) -> None:
    """Let the kernel kill what this process forks from now on before processes with a lower score, and not itself.

    This process has the score for the moment of each fork, and its child keeps it. A child that raised its own score
    would have to show its memory for a moment, and with it all that it has inherited (ADR 94). Call it once, before
    this process has what it hides.
    """
    try:
        own = int(SCORE.read_text())
        with lifecycle.own_files_of_proc():
            file = os.open(SCORE, os.O_WRONLY | os.O_CLOEXEC)
    except (OSError, ValueError):  # as above
        return
    holder, lent = os.getpid(), max(own, score)

    def write(value: int) -> None:
        # Children have these functions too, and the number of the file may be that of another one there.
        if os.getpid() == holder:
            with suppress(OSError):
                os.write(file, str(value).encode())

    os.register_at_fork(
        before=lambda: write(lent),
        after_in_parent=lambda: write(own),
        after_in_child=lambda: os.close(file) if os.getppid() == holder else None,
    )
