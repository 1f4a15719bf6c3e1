"""What holds for all tests, those of the examples too."""

from __future__ import annotations

import gc
import signal


def pytest_configure() -> None:
    """Let tests interrupt themselves and programs, although a script that runs them in the background forbids it.

    What is imported with the tests stays, Airflow among it. To look for garbage in it takes seconds of CPU.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from now on, but not among what was imported."""
    gc.freeze()
    gc.enable()
