"""What holds for all tests, those of the examples too."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let tests interrupt themselves and programs, although a script that runs them in the background forbids it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
