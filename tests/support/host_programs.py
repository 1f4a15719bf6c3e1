"""Programs that stand in for those of a host, for scripts that run on hosts."""

from __future__ import annotations

import os
from pathlib import Path


def install(folder: Path, **programs: str) -> dict[str, str]:
    """Programs of a host, each a script; the environment in which they are found first."""
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
