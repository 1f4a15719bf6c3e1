"""Python's bytecode files of Dag files and helpers that may be saved twice in a second."""

from __future__ import annotations

import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any


def compare_nanoseconds(folder: Path) -> None:
    """Let this process and its forks use bytecode of a file below `folder` only if it is of the file's last save.

    Python compares the size, and the time in whole seconds (`importlib`, "cached bytecode invalidation"). So it would
    execute the file as it was before, if a task wrote bytecode and the file was then saved in the same second with the
    same size. Bytecode that this process writes counts as stale in a process without this call, which compiles anew.
    """
    below = os.path.join(folder, "")  # noqa: PTH118 - it ends in one slash, also for a folder that ends in one
    before = SourceFileLoader.path_stats
    if getattr(before, "below", None) == below:
        return

    def path_stats(self: SourceFileLoader, path: str) -> Any:  # noqa: ANN401 - importlib's own
        if not path.startswith(below):
            return before(self, path)
        found = os.stat(path)  # noqa: PTH116 - as importlib does
        return {"mtime": found.st_mtime_ns, "size": found.st_size}

    path_stats.below = below  # type: ignore[attr-defined]
    SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign]
