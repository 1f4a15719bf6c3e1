"""A command of Airflow that draws says in plain words what of graphviz is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.cli.commands import dag_command
from airflow.utils import dot_renderer

from airfleet_provider.compat.patches import graph_drawing
from airfleet_provider.compat.patches.patch import undo
from deadline import COMMAND_S

PICTURE = SimpleNamespace(
    pipe=lambda **_: b"",
    render=lambda **_: None,
)
ENTRY = """
import sys
sys.modules["graphviz"] = None  # as where it is not installed
sys.argv = ["airflow", "dags", "show", "quick"]
from airflow.cli import cli_parser
cli_parser.get_parser()
from airflow.cli.commands import dag_command
dag_command.render_dag(None)
"""


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The only folder with programs, which is empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    graph_drawing.name_missing_graphviz()
    yield tmp_path
    undo(graph_drawing.PATCH)


@pytest.mark.parametrize("draw", ["render_dag", "render_dag_dependencies"])
def test_without_the_package_a_graph_ends_with_a_hint(path: Path, monkeypatch: pytest.MonkeyPatch, draw: str) -> None:
    monkeypatch.setattr(dot_renderer, "graphviz", None)
    with pytest.raises(SystemExit, match=r"package graphviz.*\n\nhint: "):
        getattr(dag_command, draw)({})


@pytest.mark.parametrize(
    "write",
    [
        lambda: dag_command._save_dot_to_file(PICTURE, "graph.png"),
        lambda: dag_command._display_dot_via_imgcat(PICTURE),
    ],
)
def test_without_the_program_a_picture_ends_with_a_hint(path: Path, write: Callable[[], Any]) -> None:
    with pytest.raises(SystemExit, match=r"program `dot`.*\n\nhint: "):
        write()


def test_with_graphviz_a_picture_is_saved_as_before(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path / "dot").touch(mode=0o755)
    dag_command._save_dot_to_file(PICTURE, "graph.png")
    assert capsys.readouterr().out == "File graph.png saved\n"


def test_airflows_own_program_has_the_hint_too() -> None:
    words = [sys.executable, "-c", ENTRY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert (done.returncode, done.stderr.rstrip()) == (1, graph_drawing.NO_PACKAGE)
