"""What a log file is of, from its path. A line of a task does not always name its task, but its file does."""

from __future__ import annotations

import re
from pathlib import PurePath

from airfleet_provider.log_index.lines import TASK, LineOrigin

# The log of a trigger is beside that of its try: `attempt=1.log.trigger.7.log`.
# A task can make files of any name, and the index refuses a number of more than 64 bits.
_TRY = re.compile(r"attempt=(\d{1,9})\.log(?:\.trigger\.\d+\.log)?")


def find_task_origin(host: str, relative: str) -> LineOrigin:
    """Return the try of a log file, as Airflow's default `log_filename_template` names it.

    With another template, parts such as `dag_id=…` are still found, and the others are unknown.
    """
    parts = PurePath(relative).parts
    named = dict(part.split("=", 1) for part in parts[:-1] if "=" in part)
    found = _TRY.fullmatch(parts[-1])
    number = named.get("map_index", "-1")
    return LineOrigin(
        host=host,
        component=TASK,
        dag=named.get("dag_id", ""),
        task=named.get("task_id", ""),
        run=named.get("run_id", ""),
        map_index=int(number) if re.fullmatch(r"-?\d{1,9}", number) else -1,
        try_number=int(found[1]) if found else 0,
    )


def find_component_origin(host: str, name: str) -> LineOrigin:
    """Return the origin of a component's file, such as `scheduler.log`."""
    return LineOrigin(host, name.partition(".log")[0])
