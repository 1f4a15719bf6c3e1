"""Python's bytecode files of Dag files and helpers that may be saved twice in a second."""

from __future__ import annotations

import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

# A project's folder may contain the environment of its platform, as `.airfleet/environments` or `.venv`. Installed
# packages do not change, and Python takes as long to compile them in each process as to import them.
INSTALLED = f"{os.sep}site-packages{os.sep}"
_stock = SourceFileLoader.path_stats
_folders: set[str] = set()


def compare_nanoseconds(folder: Path) -> None:
    """Let this process and its forks use bytecode of a file below `folder` only if it is of the file's last save.

    Python compares the size, and the time in whole seconds (`importlib`, "cached bytecode invalidation"). So it would
    execute the file as it was before, if a task wrote bytecode and the file was then saved in the same second with the
    same size. Bytecode that this process writes counts as stale in a process without this call, which compiles anew.
    Installed packages stay as they are.
    """
    _folders.add(os.path.join(folder, ""))  # noqa: PTH118 - it ends in one slash, also for a folder that ends in one
    SourceFileLoader.path_stats = _path_stats  # type: ignore[method-assign]


def _path_stats(self: SourceFileLoader, path: Any) -> Any:  # noqa: ANN401 - importlib's own
    name = os.fsdecode(path)  # a Dag file that makes a loader may give it a `Path`
    if INSTALLED in name or not name.startswith(tuple(_folders)):
        return _stock(self, path)
    found = os.stat(path)  # noqa: PTH116 - as importlib does
    return {"mtime": found.st_mtime_ns, "size": found.st_size}
