"""The command line of Airflow in a process that looks up no class and no function for a pickle.

This file is a program: `python -I airflow_without_pickle.py db migrate`. Airflow's migration of `dag_run.conf` calls
`pickle.loads` on bytes that Dag authors have written. A pickle runs code only by looking up a function. The interpreter
announces each look-up, whichever module unpickles: https://docs.python.org/3/library/audit_events.html. A hook cannot
be removed. Containers, text and numbers need no look-up.
"""

from __future__ import annotations

import pickle
import runpy
import sys


def refuse_lookup(event: str, _: tuple[object, ...]) -> None:
    """Raise UnpicklingError if the interpreter announces the look-up of a name for a pickle."""
    if event == "pickle.find_class":
        raise pickle.UnpicklingError("airfleet lets no pickle look up a class or a function here")


if __name__ == "__main__":
    sys.addaudithook(refuse_lookup)
    sys.argv[0] = "airflow"
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)
