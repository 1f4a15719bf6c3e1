"""airfleet, as `airfleet up` starts it on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from airfleet.workspace.state_folder import StateFolder
from stock import project
from stock.crew import find_ports, gather, wait
from stock.metadata import Metadata
from stock.ratios import OWN
from stock.rest import Rest
from stock.system import FLIGHTS, Plan, System

AIRFLEET = [sys.executable, "-m", "airfleet"]


@contextmanager
def run(folder: Path, plan: Plan) -> Iterator[System]:
    """Run airfleet with its whole state in a folder, and yield it when it is healthy."""
    code, state, logs = folder / "project", folder / "state", folder / "logs"
    logs.mkdir()
    project.make(code, plan)
    (code / "fleet.yaml").write_text(_describe(plan))
    if "real" in plan.workloads:
        project.deliver(code, state)
    with gather(logs) as crew:
        crew.start("airfleet", [*AIRFLEET, "up", str(code), "--state", str(state), "--drain", "5"], os.environ)

        store = StateFolder(state)
        wait(lambda: _phase(store) == "healthy", "airfleet to be healthy", crew=crew)
        if plan.dags == "releases":
            deploy = [*AIRFLEET, "release", "deploy", "--project", str(code), "--state", str(state)]
            subprocess.run(deploy, check=True, stdout=sys.stderr)

        def find_roots() -> Mapping[str, int]:
            snapshot = store.read_snapshot()
            assert snapshot is not None
            forks = {f"{one.name}/{fork}": fork for one in snapshot.processes for fork in one.forks}
            return {one.name: one.pid for one in snapshot.processes if one.pid} | forks | crew.pids

        secrets = store.secrets
        dsn = (secrets / "metadata_dsn").read_text()
        superuser = (secrets / "postgres_superuser").read_text()
        port = dsn.rsplit(":", 1)[1].partition("/")[0]
        metadata = Metadata(dsn, f"postgresql://postgres:{superuser}@127.0.0.1:{port}/postgres")
        rest = Rest(_url(store), "admin", (secrets / "admin_password").read_text())
        try:
            yield System(OWN, plan, crew, state, rest, metadata, find_roots)
        finally:
            metadata.close()
            rest.close()


def _describe(plan: Plan) -> str:
    lines = ["name: bench", f"parallelism: {plan.slots}", f"ports: {{api: {find_ports(1)[0]}}}", f"dags: {plan.dags}"]
    if plan.executor == "celery":
        lines.append("executor: celery")
    if "real" in plan.workloads:
        own = (FLIGHTS / "fleet.yaml").read_text().splitlines()
        lines += [line for line in own if not line.startswith(("name:", "parallelism:"))]
    return "\n".join([*lines, *plan.fleet]) + "\n"


def _phase(store: StateFolder) -> str:
    snapshot = store.read_snapshot()
    return snapshot.phase if snapshot else ""


def _url(store: StateFolder) -> str:
    snapshot = store.read_snapshot()
    assert snapshot is not None
    return snapshot.url
