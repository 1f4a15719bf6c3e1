"""Replacements for the programs of a host, for tests of scripts that run on hosts."""

from __future__ import annotations

import os
from pathlib import Path


def install(folder: Path, **programs: str) -> dict[str, str]:
    """Write each program as a script; return an environment whose PATH finds these programs first."""
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
