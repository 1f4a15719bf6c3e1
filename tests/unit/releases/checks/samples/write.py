"""Write parses.json: what the installed Airflow makes of the Dag files beside this script.

AIRFLOW_HOME=$(mktemp -d) python tests/unit/releases/checks/samples/write.py
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

HERE = Path(__file__).parent


def parse(path: Path) -> dict[str, object]:
    dags = {}
    for value in runpy.run_path(str(path)).values():
        if isinstance(value, DAG):
            dags[value.dag_id] = value
    return {"path": f"dags/{path.name}", "dags": {name: serialise(dag) for name, dag in sorted(dags.items())}}


def serialise(dag: DAG) -> dict[str, object]:
    data = DagSerialization.to_dict(dag)
    # Where the Dag was on the machine that wrote this.
    data["dag"]["fileloc"] = f"dags/{Path(data['dag']['fileloc']).name}"
    data["dag"].pop("_processor_dags_folder", None)
    return {"hash": "", "data": data}


if __name__ == "__main__":
    parses = [parse(path) for path in sorted((HERE / "dags").glob("*.py"))]
    (HERE / "parses.json").write_text(json.dumps(parses, indent=1, sort_keys=True) + "\n")
