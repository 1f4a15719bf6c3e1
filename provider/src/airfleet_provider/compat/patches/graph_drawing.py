"""`airflow dags show` says in one line what of graphviz is missing here, and how to install it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Contains, Versions

COMMAND = "airflow.cli.commands.dag_command"
_PAGE = "the page of the Dag in the web UI shows its graph without graphviz"
NO_PACKAGE = (
    "airfleet: this command draws with the package graphviz, and this environment has none\n\n"
    f"hint: add `graphviz` to the project's requirements.txt and run `airfleet up`, or `airfleet apply`; {_PAGE}"
)
NO_PROGRAM = (
    "airfleet: this command draws with the program `dot` of graphviz, and this host has none\n\n"
    f"hint: install graphviz on this host, such as by `apt install graphviz`; without --save and --imgcat the command"
    f" prints the graph as text; {_PAGE}"
)


def name_missing_graphviz() -> None:
    """Let a command that draws end with a hint, and not with a traceback, where graphviz is not installed."""
    apply(PATCH)


def _make(*originals: Callable[..., Any]) -> Sequence[Any]:
    draw, draw_dependencies, save, show = originals
    return (
        *(_check(one, _has_package, NO_PACKAGE) for one in (draw, draw_dependencies)),
        *(_check(one, _has_program, NO_PROGRAM) for one in (save, show)),
    )


def _check(original: Callable[..., Any], is_installed: Callable[[], bool], message: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - Airflow's own
        if not is_installed():
            raise SystemExit(message)
        return original(*arguments, **named)

    return run


def _has_package() -> bool:
    # What the module found when it was imported: the package may be installed since.
    from airflow.utils import dot_renderer  # noqa: PLC0415 - reading the registry imports no Airflow

    return dot_renderer.graphviz is not None


def _has_program() -> bool:
    return shutil.which("dot") is not None


PATCH = Patch(
    name="graph-drawing",
    targets=tuple(
        f"{COMMAND}:{name}"
        for name in ("render_dag", "render_dag_dependencies", "_save_dot_to_file", "_display_dot_via_imgcat")
    ),
    requires=(Versions(("3.3.",)), Contains("airflow.utils.dot_renderer", ("import graphviz", "graphviz = None"))),
    make=_make,
    without="`airflow dags show` ends with a traceback where graphviz is not installed",
    processes="the image of one machine and every `airflow dags show`",
)
