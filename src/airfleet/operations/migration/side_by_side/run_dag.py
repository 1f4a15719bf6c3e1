"""Run one Dag once, for the data interval of a former run: a program for a process of Airflow.

    python -I run_dag.py PROJECT < request.json

The request has `dag_id`, `logical_date`, `interval` (two times, or null), `conf`, and `parent`: the id of the process
that started this one. Airflow's own `dag.test` runs the tasks in this process, one after another, without a scheduler:
so nothing else runs, and a paused Dag stays paused.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Let the kernel kill this process when the command that compares ends, also by a kill: nobody waits for the Dag.

    Here and not before this program starts, because a change of the user takes it back.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def main(project: Path, request: dict[str, Any]) -> int:
    """Run the Dag, and return 0 if the run has an end, whatever the end is, and 3 if there is no such Dag."""
    sys.path.insert(0, str(project))
    # By name: the control side, whose folder this program lies in, imports no Airflow.
    bag = importlib.import_module("airflow.dag_processing.dagbag").DagBag(str(project / "dags"))
    dagrun: Any = importlib.import_module("airflow.models.dagrun")
    dag = bag.dags.get(request["dag_id"])
    if dag is None:
        for file, error in bag.import_errors.items():
            print(f"{file}: {error.strip().splitlines()[-1]}", file=sys.stderr)
        print(f"no Dag {request['dag_id']} in {project / 'dags'}", file=sys.stderr)
        return 3
    make = dagrun.get_or_create_dagrun

    def make_with_interval(**words: Any) -> Any:  # noqa: ANN401 - Airflow's, and only passed on
        """Make the run as Airflow's scheduler made the former one. `dag.test` would make a manual run."""
        begin, end = (datetime.fromisoformat(one) for one in request["interval"])
        return make(**{**words, "data_interval": (begin, end), "run_after": end})

    if request["interval"]:
        dagrun.get_or_create_dagrun = make_with_interval
    dag.test(logical_date=datetime.fromisoformat(request["logical_date"]), run_conf=request["conf"])
    return 0


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    # Tasks read nothing from here.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    end_with(wanted["parent"])
    sys.exit(main(Path(sys.argv[1]), wanted))
