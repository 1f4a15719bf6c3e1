"""The built files of the Fleet pages are those of their sources, so that nobody who uses airfleet needs Node."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deadline import COMMAND_S

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "console"
BUILT = ROOT / "provider" / "src" / "airfleet_provider" / "console" / "static" / "fleet.js"


def digest_sources() -> str:
    """Compute the digest of vite.config.ts."""
    names = sorted(str(path.relative_to(SOURCES)) for path in (SOURCES / "src").rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for name in ["package-lock.json", "tsconfig.json", "vite.config.ts", *names]:
        digest.update(f"{name}\0".encode() + (SOURCES / name).read_bytes() + b"\0")
    return digest.hexdigest()


def test_the_build_is_of_these_sources() -> None:
    found = re.search(r"built from sources ([0-9a-f]{64})", BUILT.read_text("utf-8"))
    assert found
    assert found[1] == digest_sources(), "console/ has changed: run `make console` and commit what it builds"


def test_a_build_gives_the_same_file(tmp_path: Path) -> None:
    if not shutil.which("node"):
        pytest.skip("no Node on this machine")
    if not (SOURCES / "node_modules").is_dir():
        pytest.skip("the packages of console/ are not installed: `make console` installs them")
    command = ["node", "node_modules/vite/bin/vite.js", "build", "--logLevel", "error"]
    subprocess.run(
        command, cwd=SOURCES, check=True, env={**os.environ, "CONSOLE_OUT": str(tmp_path)}, timeout=COMMAND_S
    )
    assert (tmp_path / "fleet.js").read_bytes() == BUILT.read_bytes()


def test_the_lock_names_no_registry() -> None:
    """What `npm ci` asks is the reader's own choice."""
    text = (SOURCES / "package-lock.json").read_text("utf-8")
    assert "resolved" not in text
    assert text.count('"integrity"') > 10


def test_the_build_asks_no_other_host() -> None:
    addresses = set(re.findall(r"https?://[^\"'`\s)]+", BUILT.read_text("utf-8")))
    assert addresses == set()
