"""The code of the previous version, from the repository's history."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The last commit before airfleet's own tables had numbered migrations. It counts until a version is tagged.
BASELINE = "93f03a7f7eecf1d4f572834fb86093e69bd0b10b"


def unpack_former(folder: Path) -> str:
    """Unpack the tree of the last tag before this commit, or of the baseline if there is no tag; return its name.

    Skips the test, and says why, where the history that is here does not reach so far.
    """
    name = _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^") or BASELINE
    if not _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
        shallow = _git("rev-parse", "--is-shallow-repository")
        why = "this clone is shallow: git fetch --unshallow" if shallow == "true" else "there is no such history here"
        pytest.skip(f"the version before, {name[:12]}, cannot be unpacked: {why}")
    archive = subprocess.run(["git", "archive", name], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return name


def _git(*words: str) -> str:
    """Return git's output, or an empty text if git fails or is not installed."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
