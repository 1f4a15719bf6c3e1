"""Whom the kernel kills first when memory runs out: a task, then what shares its load, then who watches over it.

By itself it takes the largest process. Where a task forks without end, that is the worker, and with it go all tasks of
its pool. Scores are inherited, and anybody may raise the own one; only root may lower it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

SCORE = Path("/proc/self/oom_score_adj")
# In thousandths of the memory that the limit allows, added to what the process has. The worker itself stays at 0.
SUPERVISOR, WARM, TASK = 200, 300, 500


def offer(score: int) -> None:
    """Let the kernel take this process, and what it forks from now on, before any with a lower score."""
    with suppress(OSError, ValueError):  # where there is no /proc, the kernel chooses as it likes
        if int(SCORE.read_text()) < score:
            SCORE.write_text(str(score))
