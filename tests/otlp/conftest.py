"""A real Jaeger, which tools/jaeger builds, and a platform whose runs it gets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaeger_node import JaegerNode

PROGRAM = Path(__file__).parents[2] / ".tools" / "jaeger" / "bin" / "jaeger"


@pytest.fixture(scope="session")
def program() -> Path:
    """Return the path of Jaeger."""
    found = PROGRAM if PROGRAM.exists() else shutil.which("jaeger")
    if found is None:
        pytest.skip("there is no Jaeger here: tools/jaeger builds it, and needs Go")
    return Path(found)


@pytest.fixture
def jaeger(program: Path, tmp_path: Path) -> Iterator[JaegerNode]:
    one = JaegerNode(program, tmp_path / "jaeger")
    yield one
    one.stop()
