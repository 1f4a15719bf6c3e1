"""A real OpenSearch node, made from its jars, for the tests of the store that writes to one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deadline import COMMAND_S, PATIENCE_S
from opensearch_node import Node

HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Yield a node of OpenSearch. Its jars come from Maven, which keeps them in its cache."""
    missing = [name for name in ("java", "javac", "mvn") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"an OpenSearch node needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("opensearch")
    jars, classes = folder / "jars", folder / "classes"
    fetch = [
        "mvn",
        "-q",
        "-B",
        "-f",
        str(HERE / "pom.xml"),
        "dependency:copy-dependencies",
        f"-DoutputDirectory={jars}",
    ]
    subprocess.run(fetch, check=True, timeout=COMMAND_S)
    compile_main = ["javac", "-cp", f"{jars}/*", "-d", str(classes), str(HERE / "Main.java")]
    subprocess.run(compile_main, check=True, timeout=COMMAND_S)
    made = Node(jars, classes, folder / "home")
    yield made
    made.kill()


@pytest.fixture
def clean(node: Node) -> Node:
    """Return the node without an index of an earlier test."""
    httpx.delete(f"{node.url}/airfleet-logs-*", timeout=PATIENCE_S)
    return node
