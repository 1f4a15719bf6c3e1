"""airfleet as installed by a user without a clone: the wheel with its lock, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deadline import COMMAND_S

ROOT = Path(__file__).parents[2]
UV = Path(sys.prefix) / "bin" / "uv"


def uv(*words: object) -> None:
    subprocess.run([str(UV), *map(str, words)], check=True, capture_output=True, text=True, timeout=COMMAND_S)


def build_wheel(folder: Path) -> Path:
    uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path, resolution: str = "lock") -> Path:
    """Install the wheel with the versions of its lock, or with the `lowest-direct` or `highest` that it allows.

    What uv has in its cache is not downloaded again. Return the path of the installed command.
    """
    python = folder / "venv" / "bin" / "python"
    uv("venv", "--python", sys.executable, folder / "venv")
    pip = ("pip", "install", "--python", python)
    if resolution == "lock":
        uv(*pip, "--require-hashes", "--requirement", ROOT / "constraints" / "control.txt")
        uv(*pip, "--offline", "--no-deps", wheel)
    else:
        uv(*pip, "--resolution", resolution, wheel)
    return python.with_name("airfleet")
