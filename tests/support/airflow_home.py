"""A home of its own for the Airflow that tests import."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile


def make() -> None:
    """Make the home, unless there is one. This process removes it at its end, and its children do not.

    Airflow writes its configuration where it finds none, and does so when it is imported.
    """
    if "AIRFLOW_HOME" in os.environ:
        return
    home, owner = tempfile.mkdtemp(prefix="airfleet-unit-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(home, ignore_errors=True)

    atexit.register(remove)
    os.environ["AIRFLOW_HOME"] = home
