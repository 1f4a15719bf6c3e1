"""Loads Dags whose file has moved since the release that a run began with.

Airflow stores one path of a Dag, the newest, and gives it to the tasks of every run. While runs may need releases that
have the Dag at another path, airfleet stores the path of a file that every release contains. That file calls `load`,
which finds the Dag by its id.
"""

from __future__ import annotations

from pathlib import Path

from airfleet_provider.compat.calls import dag_files


def load(file: str, module: str, dag_id: str | None) -> None:
    """Load the Dag file of this release that defines the Dag; without `dag_id`, load all Dag files.

    Raises:
        LookupError: no Dag file that loads defines the Dag.
    """
    release = Path(file).parents[1]
    texts = {path: (release / path).read_bytes() for path in dag_files.list_dag_files(release)}
    failure: Exception | None = None
    for path in sorted(texts, key=lambda path: ((dag_id or "").encode() not in texts[path], path)):
        try:
            found = dag_files.load_dag_file(release / path, module)
        except Exception as error:
            failure = failure or error
            continue
        if dag_id in found:
            return
    if dag_id:
        why = f", and a file of it does not load: {failure}" if failure else ""
        raise LookupError(f"{release.name} has no Dag {dag_id}{why}") from failure
