"""Hints for Dag files that do not load."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection

from airfleet.releases.checks.source import SourceFile
from airfleet.releases.checks.tracebacks import LoadFailure

# The package of each module whose name differs from the name of its package.
PACKAGES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "git": "GitPython",
    "google.cloud": "google-cloud-…",
    "psycopg2": "psycopg2-binary",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_MODULE = re.compile(r"No module named '([\w.]+)'")
_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_UNREGISTERED = re.compile(r"Timetable class '.+' is not registered|Unknown priority strategy")
_OLD_ARGUMENTS = {
    "schedule_interval": "write schedule= in place of schedule_interval=",
    "timetable": "give the timetable to schedule=",
    "concurrency": "write max_active_tasks= in place of concurrency=",
    "default_view": "remove it: Airflow 3 has no default_view",
    "orientation": "remove it: Airflow 3 has no orientation",
    "sla": "remove it: Airflow 3 has no SLAs, and deadline alerts in their place",
    "sla_miss_callback": "remove it: Airflow 3 has no SLAs, and deadline alerts in their place",
    "provide_context": "remove it: a task always gets its context",
    "task_concurrency": "write max_active_tis_per_dag= in place of task_concurrency=",
}
_FIX = "`airfleet release check --fix` rewrites what it can"
_HINTS = {
    "SyntaxError": "Python does not understand this line; the mistake may be in the one above, such as an open bracket",
    "IndentationError": "line it up with the lines around it",
    "TabError": "indent with spaces alone",
    "DuplicateTaskIdFound": "give one of the two tasks another task_id",
    "AirflowTimetableInvalid": "a cron line has five fields: minute, hour, day of the month, month, day of the week",
    "AirflowTaskTimeout": "loading took too long: move what is slow into a task",
    "AirflowDagTimeout": "loading took too long: move what is slow into a task",
    "FileNotFoundError": "write the path from the file's own: Path(__file__).parent, and keep the file in include/",
    "KeyError": "if this is an environment variable, set it under `env:` in fleet.yaml",
}


def find_line(failure: LoadFailure, source: SourceFile) -> int:
    """Return the most likely line of the failure, for a traceback that shows no line of the file."""
    missing = _MODULE.search(failure.message) or _NAME.search(failure.message)
    if missing and (line := source.import_line(missing[missing.lastindex or 1])):
        return line
    quoted = re.findall(r"'([^']+)'|\[([^]]+)\]", failure.message)
    for text in (one or other for one, other in quoted):
        lines = [line for found, line in source.texts if found == text]
        if lines:
            return lines[-1]
    return source.places[0].line if len(source.places) == 1 else 1


def give(failure: LoadFailure, source: SourceFile, files: Collection[str]) -> str:
    """Return one sentence that says what to do about this failure. `files` are the paths of the release."""
    if found := _MODULE.search(failure.message):
        return _missing_module(found[1], source, files)
    if found := _NAME.search(failure.message):
        if found[2].startswith("airflow"):
            return f"Airflow 3 has moved or removed {found[1]}; {_FIX}"
        return f"see what {found[2]} has: the name may be misspelt, or two files import each other"
    if _UNREGISTERED.search(failure.message):
        return (
            "Airflow looks for such classes in plugins, which are no part of a release: put it into a package with an "
            "entry point airflow.plugins, and that into requirements.txt"
        )
    if found := re.search(r"unexpected keyword argument '(\w+)'", failure.message):
        return _OLD_ARGUMENTS.get(found[1], f"see which arguments it takes: {found[1]} may be misspelt or removed")
    return _HINTS.get(failure.kind, "load the file by hand on a machine with the same packages to see all of it")


def _missing_module(module: str, source: SourceFile, files: Collection[str]) -> str:
    top = module.partition(".")[0]
    if provider := re.match(r"airflow\.providers\.(\w+)", module):
        whole = next((name for name, *_ in source.imports if name.startswith(module)), module)
        return f"add the provider package of {whole} to requirements.txt: apache-airflow-providers-{provider[1]}"
    if top == "airflow":
        return f"Airflow 3 has moved or removed this module; {_FIX}"
    if top in ("include", "dags", "plugins", "tests"):
        own = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in files]
        close = difflib.get_close_matches(module, own, n=1)
        return f"did you mean {close[0]!r}?" if close else "a release has dags/ and include/, and it is not in there"
    if any(path.endswith(f"/{top}.py") for path in files):
        return f"imports start at the project's folder: write include.{top} for include/{top}.py"
    if top in sys.stdlib_module_names:
        return "this Python has no such module any more; import what replaced it"
    return f"add {PACKAGES.get(top, top)} to requirements.txt"
