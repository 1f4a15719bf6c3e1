"""Which process the kernel kills first if memory runs out: a task, then its zygote, then its supervisor.

By default the kernel kills the largest process. If a task forks without end, that may be the worker, whose tasks all
end with it. Children inherit the score. Every process may raise its own score, but only root may lower it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from airfleet_provider.processes import lifecycle

SCORE = Path("/proc/self/oom_score_adj")
# Thousandths of the memory limit, which the kernel adds to the memory of the process. The worker itself stays at 0.
SUPERVISOR, WARM, TASK = 200, 300, 500


def offer(score: int) -> None:
    """Let the kernel kill this process, and its later children, before processes with a lower score."""
    with suppress(OSError, ValueError):  # without /proc the kernel's own choice stays
        if int(SCORE.read_text()) < score:
            # The file of a process that has hidden its memory belongs to root.
            with lifecycle.own_files_of_proc():
                SCORE.write_text(str(score))
