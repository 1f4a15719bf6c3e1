"""The process in which Dag files are executed, and jobs for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from airfleet_provider.processes import fork_pool
from airfleet_provider.releases.parser_process import Parser
from deadline import PATIENCE_S

FILE = """
from airflow.sdk import DAG

with DAG("{name}", schedule=None):
    pass
{more}
"""


@contextmanager
def serve(bundles: Path) -> Iterator[Parser]:
    """Run a parser that keeps Dag bundles in this folder; its process has ended when the context ends."""
    parser = Parser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(bundles))
        yield parser
        parser.stop()


def parse(parser: Parser, project: Path, files: Mapping[str, str]) -> dict[str, fork_pool.ItemOutcome]:
    """Parse one Dag file for each name, with these lines at its end; return the results by name."""
    (project / "dags").mkdir(exist_ok=True)
    for name, more in files.items():
        (project / "dags" / f"{name}.py").write_text(FILE.format(name=name, more=more))
    paths = [f"dags/{name}.py" for name in files]
    closures = {path: frozenset({path}) for path in paths}
    found = parser.parse(project, "shop", paths, closures, twice=False, timeout_s=PATIENCE_S)
    return {Path(one.item).stem: one for one in found}
