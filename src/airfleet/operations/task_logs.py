"""The logs of tasks on this machine. Those of a fleet are on its hosts and in its log store."""

from __future__ import annotations

from pathlib import Path

from airfleet.workspace.project import find_state
from airfleet_provider.contract.explanation import task_log
from airfleet_provider.contract.explanation.task_log import LoggedTask


def read_end(project: Path, state: Path | None, dag: str, run: str, task: LoggedTask, *, most_bytes: int) -> list[str]:
    """Return the whole lines in the last bytes of the log of a task's last try; none if the log is not at hand."""
    folder = (find_state(project, state).logs / "tasks").resolve()
    path = (folder / task_log.locate(dag, run, task)).resolve()
    if not path.is_relative_to(folder):
        return []
    try:
        with path.open("rb") as file:
            begin = max(0, file.seek(0, 2) - most_bytes)
            file.seek(begin)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    # `splitlines` would also cut at characters that a task may print within a line of JSON, such as U+2028.
    lines = text.removesuffix("\n").split("\n") if text else []
    return lines[1:] if begin else lines
